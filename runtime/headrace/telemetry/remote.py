"""The caller's span, as its ``traceparent`` tells it: taken apart only where somebody asks."""

from __future__ import annotations

from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, TraceFlags

from headrace.telemetry.unsampled import Unsampled

_FLAGS = tuple(TraceFlags(number) for number in range(256))


class Remote(NonRecordingSpan):
    """A span of another process.

    Args:
        traceparent: A valid one of version 00, without a ``tracestate`` beside it.
    """

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent
        self.sampled = traceparent[-1] in "13579bdf"
        """Whether its caller has sampled it: the lowest bit of the last digit."""

    @property
    def trace_id(self) -> int:
        """Its trace."""
        return int(self.traceparent[3:35], 16)

    @property
    def span_id(self) -> int:
        """Its number."""
        return int(self.traceparent[36:52], 16)

    def get_span_context(self) -> SpanContext:
        """Its context."""
        flags = _FLAGS[int(self.traceparent[53:], 16)]
        return SpanContext(self.trace_id, self.span_id, is_remote=True, trace_flags=flags)

    def __repr__(self) -> str:
        return f"Remote({self.traceparent!r})"


def is_sampled(span: Span) -> bool:
    """Whether a span is of a sampled trace."""
    if type(span) is Unsampled or span is INVALID_SPAN:
        return False
    if type(span) is Remote:
        return span.sampled
    known = span.get_span_context()
    return known.is_valid and known.trace_flags.sampled


def is_known(span: Span) -> bool:
    """Whether it is a span at all, and not the one that stands for none."""
    if span is INVALID_SPAN:
        return False
    return type(span) is Unsampled or type(span) is Remote or span.get_span_context().is_valid
