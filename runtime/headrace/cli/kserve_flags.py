"""Flags of KServe's own model server that ``headrace serve`` has no use for: manifests written for KServe pass them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import typer

from headrace.errors import ConfigurationError

Check = Callable[[str], bool]


def applied(words: Sequence[str]) -> list[str]:
    """The command line of ``serve`` with KServe's flags in ours, and without those that have no effect here.

    Each of the latter is named on standard error. A flag is read with its hyphens or underscores, as ``--flag=value``
    or with the value as the next word.

    Raises:
        ConfigurationError: a value that KServe would refuse too, or a flag that must not be passed over.
    """
    return list(_read(iter(words)))


def _read(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("_", "-") if flag.startswith("--") else ""
        if name in _REFUSED:
            raise ConfigurationError(f"{flag} is not supported: {_REFUSED[name]}")
        if name in _RENAMED:
            yield _RENAMED[name] + (f"={value}" if equals else "")
        elif name in _SWITCHES:
            _tell(flag, _SWITCHES[name])
        elif name in _WITHOUT_EFFECT:
            reason, check, wanted = _WITHOUT_EFFECT[name]
            given = value if equals else next(words, "")
            if not check(given):
                raise ConfigurationError(f"{flag} {given!r} is not {wanted}")
            _tell(flag, reason)
        else:
            yield word


def _tell(flag: str, reason: str) -> None:
    typer.echo(f"headrace: {flag} has no effect: {reason}", err=True)


def _is_count(text: str) -> bool:
    return text.isdecimal()


def _is_truth(text: str) -> bool:
    return text.lower() in ("true", "false", "1", "0", "yes", "no", "y", "n", "t", "f", "on", "off")


_TLS = "this server speaks plain HTTP; TLS is for the mesh or the ingress before it"
_REFUSED = {"ssl-certfile": _TLS, "ssl-keyfile": _TLS}
"""Passed over, they would leave unprotected what somebody wants protected."""
_RENAMED = {"model-dir": "--model"}
_SWITCHES = {"enable-predictor-health-check": "the ingress asks the predictor itself"}
_NUMBER = (_is_count, "a whole number")
_TRUTH = (_is_truth, "true or false")
_TEXT = (bool, "given")
_LOGS = "the log goes to standard error, a line an entry"
_WITHOUT_EFFECT: dict[str, tuple[str, Check, str]] = {
    "max-threads": ("a model has one thread of its own", *_NUMBER),
    "max-asyncio-workers": ("a model has one thread of its own", *_NUMBER),
    "enable-docs-url": ("there are no generated pages; v2 metadata describe the model", *_TRUTH),
    "enable-latency-logging": ("traces and metrics have the times", *_TRUTH),
    "configure-logging": (_LOGS, *_TRUTH),
    "log-config-file": (_LOGS, *_TEXT),
    "access-log-format": ("traces name every request", *_TEXT),
    "event-loop": ("uvloop is taken where it is installed", *_TEXT),
    "timeout-keep-alive": ("an idle connection is kept longer than clients keep theirs", *_NUMBER),
    "grpc-max-send-message-length": ("--max-request-bytes bounds requests", *_NUMBER),
    "grpc-max-receive-message-length": ("--max-request-bytes bounds requests, of gRPC too", *_NUMBER),
}
"""Flag to why it has none, which values are sound, and what those are called."""
