"""What a run of the model shows in the traces of its members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Link

from headrace.telemetry import tracing
from headrace.telemetry.unsampled import Unsampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.serving.batching.member import Member

_TRACER = tracing.tracer(__name__)
UNSEEN = trace.INVALID_SPAN
"""The ``queue`` of a member whose process makes no spans."""


def waiting(context: Context) -> Span:
    """``queue``: from joining the line to the beginning of the run."""
    return _TRACER.start_span("queue", context)


def of_run(members: Sequence[Member]) -> list[Span]:
    """``batch`` in the trace of the first member that is sampled, ``execute`` in those of the others.

    The batch links to the span of every member that is sampled, its own parent too, and each ``execute`` to the batch.
    Members that nobody traces have none.
    """
    seen = [member for member in members if member.waiting is not UNSEEN]
    if not seen:
        return []
    attributes = {
        "headrace.batch.size": sum(member.rows for member in members),
        "headrace.batch.requests": len(members),
    }
    sampled = [member for member in seen if type(member.waiting) is not Unsampled]
    first = sampled[0] if sampled else seen[0]
    links = [Link(_span_context(member.trace)) for member in sampled] if len(members) > 1 else []
    run = _TRACER.start_span("batch", first.trace, links=links, attributes=attributes)
    to_run = [Link(run.get_span_context())] if sampled else []
    others = [
        _TRACER.start_span("execute", member.trace, links=to_run, attributes=attributes)
        for member in seen
        if member is not first
    ]
    return [run, *others]


def within(spans: Sequence[Span], member: Member) -> Context:
    """The context that a run of which ``member`` is the first goes on in: its baggage, and the run's span."""
    return trace.set_span_in_context(spans[0], member.trace) if spans else member.trace


def end(spans: Sequence[Span], fault: Exception | None = None) -> None:
    """End them all, as failed where the run raised."""
    for span in spans:
        if fault is not None:
            tracing.fail(span, fault)
        span.end()


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()
