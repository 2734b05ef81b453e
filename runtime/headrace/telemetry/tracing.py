"""Traces of this process: who exports them, and how a context crosses a hop.

Propagation is W3C Trace Context and baggage (``OTEL_PROPAGATORS`` may name others). A context is always passed
explicitly between threads and events: nothing here keeps a current event.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from headrace.telemetry.contexts import span_in, with_span
from headrace.telemetry.propagation import carrier, child_of, extract, inject
from headrace.telemetry.remote import Remote, is_known, is_sampled
from headrace.telemetry.unsampled import Unsampled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span
    from opentelemetry.util.types import Attributes, AttributeValue

    from headrace.telemetry.exporting import SpanCounts, Tally
    from headrace.telemetry.provider import RuledProvider

_log = logging.getLogger(__name__)
LOCAL_ENDPOINT = "HEADRACE_OTLP_ENDPOINT"
"""Environment variable: OTLP/HTTP base URL of the local trace store; set by ``headrace up`` for its processes."""
SLOW = "HEADRACE_TRACES_SLOW"
"""Environment variable: seconds from which an event of an unsampled trace is kept in the local store."""
SLOW_DEFAULT = 5.0
_COUNTS: list[SpanCounts] = []


class _Scope(Tracer):
    """A tracer that costs nothing while the process has no provider, and is the provider's once it has one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._provider: Any = None
        self._inner: Tracer = trace.NoOpTracer()
        self._passes_on = False

    def start_span(  # noqa: PLR0917  # the API's form
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002  # the API's form
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
    ) -> Span:
        """A span; the current one where nobody traces."""
        provider = trace._TRACER_PROVIDER  # noqa: SLF001  # as in `active`
        if provider is None:
            return span_in(context)
        if provider is not self._provider:
            self._provider, self._inner = provider, provider.get_tracer(self._name)
            self._passes_on = getattr(provider, "passes_on", False)
        if self._passes_on:
            current = span_in(context)
            if type(current) is Remote and not current.sampled:
                return current
        return self._inner.start_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )

    def start_as_current_span(self, name: str, *args: Any, **options: Any) -> Any:
        """The same, current while the block or the decorated function runs."""
        return trace.get_tracer(self._name).start_as_current_span(name, *args, **options)


def tracer(name: str) -> Tracer:
    """The tracer of the instrumentation scope ``name`` (a module path)."""
    return _Scope(name)


def active() -> bool:
    """Whether spans of this process go anywhere: without, a context is passed on as it came, and no span is made."""
    # The public function reads the environment whenever there is no provider, which is the very case to be quick in.
    return trace._TRACER_PROVIDER is not None  # noqa: SLF001


def within_trace(context: Context | None = None) -> bool:
    """Whether a span below ``context`` (the current one where None) would be part of a trace that somebody sees."""
    if trace._TRACER_PROVIDER is None:  # noqa: SLF001  # as in `active`
        return False
    span = span_in(context)
    if type(span) is Remote:
        return span.sampled
    return type(span) is Unsampled or is_sampled(span)


def is_unsampled(context: Context) -> bool:
    """Whether ``context`` belongs to a trace that its caller chose not to sample."""
    span = span_in(context)
    return is_known(span) and not is_sampled(span)


def configure(
    service: str, environment: Mapping[str, str] = os.environ, *, globally: bool = True
) -> TracerProvider | None:
    """Set up tracing of this process; call once, at start.

    Spans go to the local store where ``HEADRACE_OTLP_ENDPOINT`` is set, and to the user's collector where the
    standard ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``..._TRACES_ENDPOINT``) is; with neither, spans cost nothing.
    ``OTEL_TRACES_SAMPLER`` chooses which; of the others, what was slow or failed goes to the local store all the same.

    Args:
        service: ``service.name``, unless ``OTEL_SERVICE_NAME`` says otherwise.
        environment: Where the variables are read.
        globally: Whether it is the provider of this process; OpenTelemetry takes the first one for good.

    Returns:
        The provider, to be shut down at exit so that the last spans leave; None when nothing is exported.
    """
    local = environment.get(LOCAL_ENDPOINT)
    collector = _wants_collector(environment)
    if not (local or collector) or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    # Imported here: the SDK and its exporters cost 100 ms of start-up that an untraced process need not pay.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    from headrace.telemetry.provider import RuledProvider  # noqa: PLC0415
    from headrace.telemetry.sampling import Sampling  # noqa: PLC0415

    resource = Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME", service)})
    provider = RuledProvider(Sampling.of(environment), resource)
    tallies = [_export_locally(provider, local, environment)] if local else []
    if collector and (tally := _export_to_collector(provider, environment)):
        tallies.append(tally)
    _count(tallies)
    if globally:
        trace.set_tracer_provider(provider)
    return provider


class recorded:  # noqa: N801  # used as a function; a class costs a tenth of a generator's context manager
    """Make ``span`` current, mark it as failed when the block raises, and end it."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = otel_context.attach(with_span(self._span, otel_context.get_current()))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, stack: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        if fault is not None:
            fail(self._span, fault)
        self._span.end()


def fail(span: Span, fault: BaseException | str) -> None:
    """Set the span's status to error and its ``error.type`` (semantic conventions, general errors)."""
    named = getattr(fault, "code", type(fault).__name__) if isinstance(fault, BaseException) else fault
    span.set_attribute("error.type", str(named))
    span.set_status(Status(StatusCode.ERROR, str(fault)))


def describe(span: Span, attributes: Callable[..., Mapping[str, AttributeValue]], *of: Any) -> None:
    """Set the attributes that ``attributes(*of)`` returns; it is called only where somebody will see them."""
    if type(span) is Unsampled:
        above = span.later
        span.later = partial(_both, above, attributes, of) if above else partial(attributes, *of)
    elif span.is_recording():
        span.set_attributes(attributes(*of))


def _both(
    above: Callable[[], Mapping[str, AttributeValue]], attributes: Callable[..., Mapping[str, AttributeValue]], of: Any
) -> Mapping[str, AttributeValue]:
    return {**above(), **attributes(*of)}


def keep(span: Span, why: str) -> None:
    """Have this process's part of an unsampled trace kept in the local store, where there is one."""
    if type(span) is Unsampled:
        span.worth_keeping(why)


def _wants_collector(environment: Mapping[str, str]) -> bool:
    exporters = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporters == "none":
        return False
    named = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return bool(named) or exporters == "otlp"


def _export_locally(provider: RuledProvider, endpoint: str, environment: Mapping[str, str]) -> Tally:
    from headrace.telemetry import exporting  # noqa: PLC0415  # heavy

    tally = exporting.Tally("local", "otlp_http_span_exporter")
    exporter = exporting.local_exporter(endpoint)
    processor = exporting.CountedProcessor(exporter, tally, most=exporting.QUEUE, delay=exporting.EXPORT_DELAY)
    provider.add_span_processor(processor)
    provider.keeper = exporting.StoreKeeper(processor, provider.resource, _slow(environment))
    return tally


def _export_to_collector(provider: RuledProvider, environment: Mapping[str, str]) -> Tally | None:
    from headrace.telemetry import exporting  # noqa: PLC0415  # heavy

    try:
        exporter, kind = exporting.collector_exporter(environment)
    except Exception:  # noqa: BLE001  # whatever it stumbles over
        # A wrong setting of the telemetry costs the telemetry, not the events.
        _log.exception("no spans go to the collector: its OTEL_EXPORTER_OTLP_* settings cannot be used")
        return None
    tally = exporting.Tally("collector", kind)
    provider.add_span_processor(exporting.CountedProcessor(exporter, tally))
    return tally


def _slow(environment: Mapping[str, str]) -> float:
    text = environment.get(SLOW, "")
    try:
        return float(text or SLOW_DEFAULT)
    except ValueError:
        _log.warning("%s=%s is no number of seconds: %g is taken", SLOW, text, SLOW_DEFAULT)
        return SLOW_DEFAULT


def _count(tallies: list[Tally]) -> None:
    """Show the exporters at the process's ``/metrics``."""
    from prometheus_client import REGISTRY  # noqa: PLC0415  # with the exporters, not before

    from headrace.telemetry.exporting import SpanCounts  # noqa: PLC0415  # likewise

    if not _COUNTS:
        _COUNTS.append(SpanCounts())
        REGISTRY.register(_COUNTS[0])
    _COUNTS[0].watch(tallies)


__all__ = [
    "LOCAL_ENDPOINT",
    "SLOW",
    "SpanKind",
    "active",
    "carrier",
    "child_of",
    "configure",
    "describe",
    "extract",
    "fail",
    "inject",
    "is_known",
    "is_sampled",
    "is_unsampled",
    "keep",
    "recorded",
    "span_in",
    "tracer",
    "with_span",
    "within_trace",
]
