"""What of a caller's request goes on to the predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind

from headrace.telemetry import tracing
from headrace.telemetry.usage import inner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

FORWARDED = frozenset(
    {
        "authorization", "x-request-id", "baggage", inner.HEADER,
        "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
    }
)  # fmt: skip
"""Headers of the caller that the predictor gets as they are, beside W3C's trace context, which names our own span.

Never ``ce-*``: the predictor would take the request for the event."""
_TRACER = tracing.tracer(__name__)


def start_span(context: Context | None, attributes: Mapping[str, Any]) -> Span:
    """The CLIENT span of one request; without a tracer the caller's own, which is passed on then."""
    if not tracing.active():
        return tracing.span_in(context)
    return _TRACER.start_span("infer", context, kind=SpanKind.CLIENT, attributes=dict(attributes))


def caller_context(headers: Mapping[str, str]) -> Context | None:
    """The caller's trace; None where it is the current one.

    Headrace's server has made the caller's span current; KServe's has not, so the headers are read then.
    """
    if tracing.is_known(tracing.span_in(None)):
        return None
    return tracing.extract(headers, {"traceparent": headers["ce-traceparent"]} if "ce-traceparent" in headers else {})


def outgoing(headers: Mapping[str, str], span: Span, context: Context | None) -> dict[str, str]:
    """The headers that the predictor gets of the caller's ``headers``, with ``span`` as the parent of its own."""
    return {name: value for name, value in headers.items() if name in FORWARDED} | trace_headers(span, context)


def trace_headers(span: Span, context: Context | None) -> dict[str, str]:
    """The headers that make ``span`` the parent of the predictor's; none where there is no trace."""
    return tracing.inject(span, get_current() if context is None else context) if tracing.is_known(span) else {}
