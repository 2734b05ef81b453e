"""Lines of a process: JSON in a pod, for people elsewhere, with ids, and without secrets."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from headrace.errors import ConfigurationError
from headrace.telemetry.logs import configure_logs, of_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Logs = Callable[..., str]

SECRETS = {"KAFKA_SASL_PASSWORD": "planted-one", "AWS_SECRET_ACCESS_KEY": "planted-two", "HF_TOKEN": "planted-three"}


@pytest.fixture
def lines() -> Iterator[Logs]:
    """What is written of log calls, with the process's own logging as it was afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    def written(call: Callable[[logging.Logger], None], name: str = "headrace.test", **environment: str) -> str:
        stream = io.StringIO()
        configure_logs(environment, stream)
        call(logging.getLogger(name))
        return stream.getvalue()

    yield written
    root.handlers[:] = before
    root.setLevel(level)


def _json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _raise(said: str) -> None:
    raise ValueError(said)


def test_in_a_pod_each_line_is_one_object(lines: Logs) -> None:
    """Time, level, logger, message, and a traceback within the object: a line is an entry, whatever it says."""

    def fail(log: logging.Logger) -> None:
        try:
            _raise("two\nlines")
        except ValueError:
            log.exception("it %s", "failed")

    text = lines(fail, KUBERNETES_SERVICE_HOST="10.0.0.1")
    assert text.count("\n") == 1
    line = _json(text)
    assert (line["level"], line["logger"], line["message"]) == ("error", "headrace.test", "it failed")
    assert "ValueError: two" in line["exception"]
    assert line["time"].endswith("+00:00")


def test_elsewhere_a_line_is_for_people(lines: Logs) -> None:
    """Unless the variable says otherwise."""
    assert " INFO headrace.test: all is well" in lines(lambda log: log.info("all is well"))
    assert _json(lines(lambda log: log.info("well"), HEADRACE_LOG_FORMAT="json"))["message"] == "well"
    in_a_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HEADRACE_LOG_FORMAT": "text"}
    assert lines(lambda log: log.info("well"), **in_a_pod).endswith("headrace.test: well\n")


def test_lines_name_their_trace_and_their_event(lines: Logs) -> None:
    """The current span's, and the event that the call is about."""
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))

    def tell(log: logging.Logger) -> None:
        with trace.use_span(NonRecordingSpan(context)):
            log.warning("late", extra=of_event({"id": "e-1", "source": "/s"}))

    line = _json(lines(tell, HEADRACE_LOG_FORMAT="json"))
    assert (line["trace_id"], line["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert (line["event_id"], line["event_source"]) == ("e-1", "/s")
    assert f"late trace_id={0xABC:032x} event_id=e-1" in lines(tell)


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "said",
    [
        "login with planted-one failed",
        "planted-two and planted-three",
        "Authorization: Bearer planted-four",
        '{"x-api-key": "planted-five"}',
        "password=planted-six",
        "https://user:planted-seven@store.example.com/m",
    ],
)
def test_secrets_are_never_written(lines: Logs, form: str, said: str) -> None:
    """Neither values of the environment nor what looks like one, in a message or a traceback."""

    def tell(log: logging.Logger) -> None:
        try:
            _raise(said)
        except ValueError:
            log.exception("told: %s", said)

    text = lines(tell, HEADRACE_LOG_FORMAT=form, **SECRETS)
    assert "planted" not in text
    assert "***" in text


def test_the_level_is_the_environments(lines: Logs) -> None:
    """Headrace's own variable goes before OpenTelemetry's; info without either."""

    def tell(log: logging.Logger) -> None:
        log.debug("fine")
        log.warning("coarse")

    assert "fine" not in lines(tell)
    assert "fine" in lines(tell, OTEL_LOG_LEVEL="debug")
    assert lines(tell, HEADRACE_LOG_LEVEL="error", OTEL_LOG_LEVEL="debug") == ""


def test_lines_of_libraries_take_the_same_way(lines: Logs) -> None:
    """KServe's loggers, which set themselves up, as well."""
    logging.getLogger("kserve").addHandler(logging.NullHandler())
    line = _json(lines(lambda log: log.warning("password=planted"), "kserve", HEADRACE_LOG_FORMAT="json"))
    assert (line["logger"], line["message"]) == ("kserve", "password=***")
    assert logging.getLogger("kserve").handlers == []


@pytest.mark.parametrize("environment", [{"HEADRACE_LOG_FORMAT": "xml"}, {"HEADRACE_LOG_LEVEL": "loud"}])
def test_a_variable_that_is_wrong_is_told(environment: dict[str, str]) -> None:
    """By its name, at the start."""
    with pytest.raises(ConfigurationError, match=next(iter(environment))):
        configure_logs(environment, io.StringIO())
