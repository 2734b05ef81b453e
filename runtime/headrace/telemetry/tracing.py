"""Traces of this process: who exports them, and how a context crosses a hop.

Propagation is W3C Trace Context and baggage (``OTEL_PROPAGATORS`` may name others). A context is always passed
explicitly between threads and events: nothing here keeps a current event.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

LOCAL_ENDPOINT = "HEADRACE_OTLP_ENDPOINT"
"""Environment variable: OTLP/HTTP base URL of the local trace store; set by ``headrace up`` for its processes."""
EXPORT_DELAY = 200
"""Milliseconds between exports to the local store: short, since a person waits for ``headrace trace``."""


def tracer(name: str) -> Tracer:
    """The tracer of the instrumentation scope ``name`` (a module path)."""
    return trace.get_tracer(name)


def active() -> bool:
    """Whether spans of this process go anywhere: without, a context is passed on as it came, and no span is made."""
    # The public function reads the environment whenever there is no provider, which is the very case to be quick in.
    return trace._TRACER_PROVIDER is not None  # noqa: SLF001


def configure(service: str, environment: Mapping[str, str] = os.environ) -> TracerProvider | None:
    """Set up tracing of this process; call once, at start.

    Spans go to the local store where ``HEADRACE_OTLP_ENDPOINT`` is set, and to the user's collector where the
    standard ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``..._TRACES_ENDPOINT``) is; with neither, spans cost nothing.

    Args:
        service: ``service.name``, unless ``OTEL_SERVICE_NAME`` says otherwise.
        environment: Where the variables are read.

    Returns:
        The provider, to be shut down at exit so that the last spans leave; None when nothing is exported.
    """
    local = environment.get(LOCAL_ENDPOINT)
    collector = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not (local or collector) or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    # Imported here: the SDK and its exporters cost 100 ms of start-up that an untraced process need not pay.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    resource = Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME", service)})
    provider = TracerProvider(resource=resource)
    if local:
        _export_locally(provider, local)
    if collector:
        _export_to_collector(provider, environment)
    trace.set_tracer_provider(provider)
    return provider


def extract(*carriers: Mapping[str, str]) -> Context:
    """The trace context of the first carrier that has a valid ``traceparent``; an empty one when none has.

    Args:
        carriers: Headers or CloudEvent attributes by lower-case name, the strongest first.
    """
    for carrier in carriers:
        if "traceparent" not in carrier:
            continue
        context = propagate.extract(carrier, Context())
        if trace.get_current_span(context).get_span_context().is_valid:
            return context
    return Context()


def inject(span: Span, context: Context | None = None) -> dict[str, str]:
    """``traceparent`` (and ``tracestate``) that make ``span`` the parent of the next hop; empty when untraced.

    Args:
        span: The current span.
        context: Where baggage to pass on is taken from; none where None.
    """
    if context is None and not span.get_span_context().is_valid:
        return {}
    return carrier(child_of(span, context))


def carrier(context: Context) -> dict[str, str]:
    """The headers that carry ``context`` to the next hop; empty when untraced."""
    headers: dict[str, str] = {}
    propagate.inject(headers, context)
    return headers


def child_of(span: Span, context: Context | None = None) -> Context:
    """The context whose current span is ``span``, with the baggage of ``context``."""
    return trace.set_span_in_context(span, context or Context())


@contextmanager
def recorded(span: Span) -> Iterator[Span]:
    """Make ``span`` current, mark it as failed when the block raises, and end it."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as fault:
            fail(span, fault)
            raise


def fail(span: Span, fault: BaseException | str) -> None:
    """Set the span's status to error and its ``error.type`` (semantic conventions, general errors)."""
    named = getattr(fault, "code", type(fault).__name__) if isinstance(fault, BaseException) else fault
    span.set_attribute("error.type", str(named))
    span.set_status(Status(StatusCode.ERROR, str(fault)))


def _export_locally(provider: TracerProvider, endpoint: str) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_DELAY))


def _export_to_collector(provider: TracerProvider, environment: Mapping[str, str]) -> None:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter  # noqa: PLC0415

    protocol = environment.get(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    )
    exporter: SpanExporter
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter()
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter as HttpSpanExporter,
        )

        exporter = HttpSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))


__all__ = [
    "LOCAL_ENDPOINT",
    "SpanKind",
    "active",
    "carrier",
    "child_of",
    "configure",
    "extract",
    "fail",
    "inject",
    "recorded",
    "tracer",
]
