"""The spans of serving: what each request's trace shows of this process."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from headrace.eventing.spans import of_event
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.eventing.event import CloudEvent
    from headrace.serving.messages import Request

_TRACER = tracing.tracer(__name__)
_NOTHING = nullcontext()
_CLIENT_ERROR = 400
_SERVER_ERROR = 500
_RPC_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that are errors of a server's span; the others are the caller's (semantic conventions, gRPC)."""


class entered:  # noqa: N801  # used as a function; a class costs a tenth of a generator's context manager
    """Make ``span`` current within ``context`` (its baggage too), and end it when the block ends."""

    __slots__ = ("_context", "_span", "_token")

    def __init__(self, span: Span, context: Context) -> None:
        self._span = span
        self._context = context
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        if self._span is not trace.INVALID_SPAN or self._context:  # else nobody traces, neither here nor the caller
            self._token = otel_context.attach(tracing.with_span(self._span, self._context))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, stack: TracebackType | None
    ) -> None:
        if self._token is None:
            return
        otel_context.detach(self._token)
        if fault is not None:
            tracing.fail(self._span, fault)
        self._span.end()


def server_span(name: str, request: Request, route: str, context: Context, *, links: Sequence[Link] = ()) -> Span:
    """The SERVER span of an HTTP request (semantic conventions, HTTP server); the caller's where nobody traces here."""
    if not tracing.active():
        return tracing.span_in(context)
    span = _TRACER.start_span(name, context, kind=SpanKind.SERVER, links=links)
    tracing.describe(span, _of_request, request, route)
    return span


@contextmanager
def serving_rpc(method: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """The SERVER span of a gRPC call, current in the caller's trace (semantic conventions, RPC)."""
    context = tracing.extract(headers)
    if not tracing.active():
        with entered(trace.get_current_span(context), context) as span:
            yield span
        return
    full = f"inference.GRPCInferenceService/{method}"
    attributes = {"rpc.system.name": "grpc", "rpc.method": full}
    span = _TRACER.start_span(full, context, kind=SpanKind.SERVER, attributes=attributes)
    with entered(span, context):
        yield span


def rpc_ended(span: Span | None, status: str, fault: Exception | None = None) -> None:
    """Say which gRPC status was answered; one that tells of the server's fault is an error (conventions, gRPC)."""
    if span is None:
        return
    span.set_attribute("rpc.response.status_code", status)
    if fault is None:
        return
    tracing.keep(span, "failed")
    if status in _RPC_ERRORS:
        tracing.fail(span, fault)
        span.set_attribute("error.type", status)


def item_span(event: CloudEvent, context: Context, request: Span) -> Span:
    """The span of one event of a batch, in that event's own trace, with a link to the span of the request."""
    if not tracing.active():
        return trace.get_current_span(context)
    known = request.get_span_context() if request.is_recording() else None
    span = _TRACER.start_span("process", context, links=[Link(known)] if known else None)
    describe_event(span, event)
    return span


def describe_event(span: Span, event: CloudEvent) -> None:
    """Say which event (semantic conventions, CloudEvents)."""
    tracing.describe(span, of_event, event)


def answered(span: Span, status: int) -> None:
    """Say which status was answered; a 5xx is an error of the server's (semantic conventions, HTTP server)."""
    if span.is_recording() or status >= _CLIENT_ERROR:
        span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            tracing.fail(span, str(status))
        elif status >= _CLIENT_ERROR:
            tracing.keep(span, "failed")


def _of_request(request: Request, route: str) -> dict[str, str | int]:
    headers = request.headers
    found: dict[str, str | int] = {
        "http.request.method": request.method,
        "http.route": route,
        "url.path": request.path,
        "url.scheme": "http",
    }
    if host := headers.get("host"):
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        found["server.address"] = name or host
        if name and port.isdecimal():
            found["server.port"] = int(port)
    if agent := headers.get("user-agent"):
        found["user_agent.original"] = agent
    return found


def step(name: str) -> AbstractContextManager[object]:
    """An INTERNAL span around a hook of the model, child of the current one."""
    return tracing.recorded(_TRACER.start_span(name)) if tracing.within_trace() else _NOTHING
