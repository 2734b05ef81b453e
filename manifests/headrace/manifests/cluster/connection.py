"""Where the cluster is and who asks: from a kubeconfig, or from inside a pod.

The kubernetes client reads them, since it knows every form of credentials; nothing else of it is used.
"""

from __future__ import annotations

import logging
import os
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Connection:
    """A cluster's address, and how to prove to it who asks."""

    server: str
    """``https://HOST:PORT``, with a path where the cluster is behind a gateway."""
    name: str = "the cluster"
    """For messages: the context."""
    authorization: Callable[[], str | None] = field(default=lambda: None, repr=False)
    """The header's value now; may block, since a login program may run."""
    tls: ssl.SSLContext | None = None
    """For ``https``."""
    tls_name: str | None = None
    """The name in the server's certificate, where it is not the address's."""
    proxy: str | None = field(default=None, repr=False)
    """The kubeconfig's own; else the environment's is used."""


def connect(context: str | None = None, kubeconfig: str | None = None) -> Connection:
    """The cluster of a context of the kubeconfig, or the one around this pod.

    Args:
        context: Name in the kubeconfig; its current context unless you say.
        kubeconfig: Path, or several as in ``KUBECONFIG``, which it stands for.

    Raises:
        ConfigurationError: there is none, or it is not understood, or the login program failed.
    """
    files = kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    there = [each for each in files.split(os.pathsep) if each and Path(each).is_file()]
    if not there and context is None and kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _inside()
    if not there:
        raise ConfigurationError(
            f"No kubeconfig at {files}, so no cluster is known",
            hint="name one with KUBECONFIG=FILE, or log in to a cluster",
        )
    return _of_file(files, context)


def _inside() -> Connection:
    from kubernetes.client import Configuration  # noqa: PLC0415  # heavy, and only cluster commands need it
    from kubernetes.config import ConfigException, load_incluster_config  # noqa: PLC0415

    found = Configuration(proxy="")
    try:
        load_incluster_config(found)  # type: ignore[no-untyped-call]  # the client has no types there
    except (ConfigException, OSError) as fault:
        raise ConfigurationError(
            f"This pod has no credentials for its cluster: {fault}", hint="give its ServiceAccount a token"
        ) from None
    return _connection(found, "this pod's cluster")


def _of_file(files: str, context: str | None) -> Connection:
    from kubernetes.client import Configuration  # noqa: PLC0415  # heavy, and only cluster commands need it
    from kubernetes.config import ConfigException, list_kube_config_contexts, load_kube_config  # noqa: PLC0415

    found = Configuration(proxy="")
    try:
        contexts, current = list_kube_config_contexts(files)  # type: ignore[no-untyped-call]  # the client has no types
        known = [str(each.get("name")) for each in contexts]
        if context is None or context in known:
            with _logged() as said:
                load_kube_config(files, context, found, persist_config=False)  # type: ignore[no-untyped-call]  # same
    except ConfigException as fault:
        raise _unusable(files, _line(fault)) from None
    except OSError as fault:
        raise _unusable(files, fault.strerror or type(fault).__name__) from None
    except Exception as fault:  # noqa: BLE001  # PyYAML's, base64's, and whatever a file of the wrong shape leads to
        # Only where in the file: what it holds may be secret.
        raise _unusable(files, f"it is no kubeconfig: {type(fault).__name__}{_place(fault)}") from None
    if context is not None and context not in known:
        raise ConfigurationError(
            f"The kubeconfig {files} has no context {context!r}", hint=f"it has {', '.join(known) or 'none'}"
        )
    if said:
        raise _unusable(files, f"its login program failed: {_line(said[0])}")
    return _connection(found, context or str(current.get("name")))


def _unusable(files: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"The kubeconfig {files} cannot be used: {why}", hint="does `kubectl version` work?")


def _line(fault: object) -> str:
    return " ".join(str(fault).split())[:_LONGEST]


def _place(fault: Exception) -> str:
    mark = getattr(fault, "problem_mark", None)
    return f" on line {mark.line + 1}" if mark else ""


@contextmanager
def _logged() -> Iterator[list[str]]:
    """What is logged as an error meanwhile: the client tells a failed login program so alone, and goes on without."""
    said: list[str] = []
    root = logging.getLogger()

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    keeper, others = Keeper(logging.ERROR), root.handlers[:]
    root.handlers[:] = [keeper]
    try:
        yield said
    finally:
        root.handlers[:] = others


def _connection(found: Any, name: str) -> Connection:
    server = str(found.host).rstrip("/")
    return Connection(
        server=server,
        name=name,
        authorization=lambda: _header(found),
        tls=_tls(found) if server.startswith("https") else None,
        tls_name=found.tls_server_name or None,
        proxy=found.proxy or None,
    )


def _header(found: Any) -> str | None:
    if found.refresh_api_key_hook is not None:
        with _logged() as said:
            found.refresh_api_key_hook(found)
        if said:
            raise ConfigurationError(f"The login program failed: {_line(said[0])}", hint="log in to the cluster again")
    # The client has called the same key by two names.
    keys: dict[str, str] = found.api_key
    return keys.get("BearerToken") or keys.get("authorization")


def _tls(found: Any) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=found.ssl_ca_cert or None)
        # Python 3.13 asks for what the certificates of many clusters' own authorities lack, and kubectl does not ask.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not found.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if found.cert_file:
            context.load_cert_chain(found.cert_file, found.key_file)
    except (ssl.SSLError, OSError) as fault:
        raise ConfigurationError(
            f"The kubeconfig's certificates cannot be read: {fault.strerror or fault}",
            hint="log in to the cluster again",
        ) from None
    return context
