"""How a process logs: one JSON object a line in a container, a line for people elsewhere, and no secret in either.

``HEADRACE_LOG_FORMAT`` (``json`` or ``text``) says which; without it, JSON where Kubernetes runs the process.
``HEADRACE_LOG_LEVEL``, else OpenTelemetry's ``OTEL_LOG_LEVEL``, says from which level on. Libraries' lines take the
same way.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry import trace

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

FORMAT = "HEADRACE_LOG_FORMAT"
LEVEL = "HEADRACE_LOG_LEVEL"
LEVELS = ("debug", "info", "warning", "error")
MASK = "***"
_FORMATS = ("json", "text")
_IN_A_POD = "KUBERNETES_SERVICE_HOST"
_KNOWN_LEVELS = {"trace": "debug", "warn": "warning", "fatal": "error", "critical": "error"}
_QUIET = {"kafka": logging.ERROR, "librdkafka": logging.ERROR, "httpx": logging.WARNING}
"""Libraries that tell more than is of use, and from which level on they are heard."""
_OWN_HANDLERS = ("kserve", "kserve.trace", "uvicorn", "uvicorn.access", "uvicorn.error")
"""Loggers that set themselves up: their lines would go past the form, and past the masks."""
_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 6
"""Characters from which on a variable's value is masked: a shorter one stands in many a word."""
_SHAPES = (
    re.compile(r"(?i)(\bbearer\s+|\bbasic\s+)[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(
        r"(?i)((?:authorization|x-api-key|api[_-]?key|password|passwd|secret|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]{3,}"
    ),
    re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@]+:)[^\s/@]+(?=@)"),
)


def configure_logs(environment: Mapping[str, str] = os.environ, stream: TextIO | None = None) -> None:
    """Set up logging of this process; call once, at start, before anything is logged.

    Args:
        environment: Where the variables are read, and the secrets that no line may hold.
        stream: Where lines go; standard error where None.

    Raises:
        ConfigurationError: a variable is wrong.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    secrets = _secrets(environment)
    handler.setFormatter(JsonLines(secrets) if _format(environment) == "json" else TextLines(secrets))
    root = logging.getLogger()
    for known in tuple(root.handlers):
        root.removeHandler(known)
    root.addHandler(handler)
    root.setLevel(_level(environment))
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


class _Masking(logging.Formatter):
    """Masks secrets in what a line says, its traceback included.

    Args:
        secrets: Values that no line may hold.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._secrets = secrets

    def masked(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        for shape in _SHAPES:
            text = shape.sub(rf"\g<1>{MASK}", text)
        return text


class JsonLines(_Masking):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.masked(record.getMessage()),
            **_ids(record),
        }
        if record.exc_info:
            line["exception"] = self.masked(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode(errors="replace")


class TextLines(_Masking):
    """A line for people: time, level, logger, text, and the ids where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it."""
        moment = self.formatTime(record)
        ids = "".join(f" {name}={value}" for name, value in _ids(record).items() if name in ("trace_id", "event_id"))
        text = f"{moment} {record.levelname} {record.name}: {record.getMessage()}{ids}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return self.masked(text)


def of_event(attributes: Mapping[str, str]) -> dict[str, str]:
    """What a log call is given as ``extra`` so that its line names the event."""
    return {"event_id": attributes.get("id", ""), "event_source": attributes.get("source", "")}


def _ids(record: logging.LogRecord) -> dict[str, str]:
    """Of the current trace, and of the event: what the call says, else what the current span knows."""
    span = trace.get_current_span()
    found: dict[str, str] = {}
    context = span.get_span_context()
    if context.is_valid:
        found = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    known = getattr(span, "attributes", None) or {}
    for name in ("event_id", "event_source"):
        if value := getattr(record, name, "") or known.get(f"cloudevents.{name}", ""):
            found[name] = str(value)
    return found


def _secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    values = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
    return tuple(sorted((value for value in values if len(value) >= _SHORTEST_SECRET), key=len, reverse=True))


def _format(environment: Mapping[str, str]) -> str:
    wanted = environment.get(FORMAT, "").lower() or ("json" if environment.get(_IN_A_POD) else "text")
    if wanted not in _FORMATS:
        raise ConfigurationError(f"{FORMAT}={wanted}: not a format", hint=f"one of {', '.join(_FORMATS)}")
    return wanted


def _level(environment: Mapping[str, str]) -> int:
    name = LEVEL if environment.get(LEVEL) else "OTEL_LOG_LEVEL"
    text = environment.get(name, "").lower() or "info"
    wanted = _KNOWN_LEVELS.get(text, text)
    if wanted not in LEVELS:
        raise ConfigurationError(f"{name}={text}: not a level", hint=f"one of {', '.join(LEVELS)}")
    return int(getattr(logging, wanted.upper()))
