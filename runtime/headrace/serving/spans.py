"""The spans of serving: what each request's trace shows of this process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span

    from headrace.eventing.event import CloudEvent
    from headrace.serving.messages import Request

_TRACER = tracing.tracer(__name__)
_SERVER_ERROR = 500


@contextmanager
def entered(span: Span, context: Context) -> Iterator[Span]:
    """Make ``span`` current within ``context`` (its baggage too), and end it when the block ends."""
    if span is trace.INVALID_SPAN and not context:
        yield span  # nobody traces, neither here nor at the caller's
        return
    token = otel_context.attach(trace.set_span_in_context(span, context))
    try:
        yield span
    except BaseException as fault:
        tracing.fail(span, fault)
        raise
    finally:
        otel_context.detach(token)
        span.end()


def server_span(name: str, request: Request, route: str, context: Context, *, links: Sequence[Link] = ()) -> Span:
    """The SERVER span of an HTTP request (semantic conventions, HTTP server); the caller's where nobody traces here."""
    if not tracing.active():
        return trace.get_current_span(context)
    attributes = {
        "http.request.method": request.method,
        "http.route": route,
        "url.path": request.path,
        "url.scheme": "http",
    }
    return _TRACER.start_span(name, context, kind=SpanKind.SERVER, attributes=attributes, links=links)


@contextmanager
def serving_rpc(method: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """The SERVER span of a gRPC call, current in the caller's trace (semantic conventions, RPC)."""
    context = tracing.extract(headers)
    if not tracing.active():
        with entered(trace.get_current_span(context), context) as span:
            yield span
        return
    attributes = {"rpc.system": "grpc", "rpc.service": "inference.GRPCInferenceService", "rpc.method": method}
    span = _TRACER.start_span(
        f"inference.GRPCInferenceService/{method}", context, kind=SpanKind.SERVER, attributes=attributes
    )
    with entered(span, context):
        yield span


def item_span(event: CloudEvent, context: Context, link: Link) -> Span:
    """The span of one event of a batch, in that event's own trace; ``link`` leads to the batch's request."""
    if not tracing.active():
        return trace.get_current_span(context)
    span = _TRACER.start_span("process", context, links=[link])
    describe_event(span, event)
    return span


def describe_event(span: Span, event: CloudEvent) -> None:
    """Say which event (semantic conventions, CloudEvents)."""
    if span.is_recording():
        span.set_attribute("cloudevents.event_id", event.id)
        span.set_attribute("cloudevents.event_source", event.source)
        span.set_attribute("cloudevents.event_type", event.type)


def answered(span: Span, status: int) -> None:
    """Say which status was answered; a 5xx is an error of the server's (semantic conventions, HTTP server)."""
    if span.is_recording():
        span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            tracing.fail(span, str(status))


@contextmanager
def step(name: str) -> Iterator[Span]:
    """An INTERNAL span around a hook of the model, child of the current one."""
    if not tracing.active():
        yield trace.get_current_span()
        return
    with tracing.recorded(_TRACER.start_span(name)) as span:
        yield span
