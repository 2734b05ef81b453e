"""What a run of the model shows in the traces of its members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Link

from headrace.telemetry import tracing

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
    """``batch`` in the trace of the first member, ``execute`` in those of the others.

    The batch links to every other member's span, and each ``execute`` to the batch. None where nobody would see them.
    """
    if members[0].waiting is UNSEEN:
        return []
    attributes = {
        "headrace.batch.size": sum(member.rows for member in members),
        "headrace.batch.requests": len(members),
    }
    links = [Link(context) for member in members[1:] if (context := _span_context(member.trace)).is_valid]
    run = _TRACER.start_span("batch", members[0].trace, links=links, attributes=attributes)
    to_run = [Link(run.get_span_context())] if run.get_span_context().is_valid else []
    others = [
        _TRACER.start_span("execute", member.trace, links=to_run, attributes=attributes) for member in members[1:]
    ]
    return [run, *others]


def within(spans: Sequence[Span], member: Member) -> Context:
    """The context that a run of which ``member`` is the first goes on in."""
    return trace.set_span_in_context(spans[0], member.trace) if spans else member.trace


def end(spans: Sequence[Span], fault: Exception | None = None) -> None:
    """End them all, as failed where the run raised."""
    for span in spans:
        if fault is not None:
            tracing.fail(span, fault)
        span.end()


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()
