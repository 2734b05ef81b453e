"""The last cold start of each service, by phase, out of its spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.local.span import StoredSpan
    from headrace.local.trace_store import TraceStore

SPAN = "cold start"
"""Name of the span from the decision to start a replica to its readiness."""
_PHASES = ("import", "load", "warm-up")
_LOOKED_AT = 100
"""Cold starts that are looked through, the newest first."""
_NANO = 1e-9


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Where the seconds of one cold start went."""

    service: str
    """``namespace/name``."""
    began: float
    """When it was decided, in seconds of Unix time."""
    seconds: float
    """From the decision to readiness."""
    forked: bool
    """Whether the replica was forked from a template, so that ``import`` has little left to do."""
    phases: tuple[tuple[str, float], ...]
    """``schedule`` (until its code runs), ``import``, ``load``, ``warm-up``, ``probe`` (until it is seen to be ready),
    and ``first answer``, of the request that woke it; those that are known, in this order, in seconds."""


def last_cold_starts(store: TraceStore) -> dict[str, ColdStart]:
    """The newest of each service that somebody waited for, else its newest, by ``namespace/name``.

    A replica that was added to others has a start, and nobody's first answer.

    Raises:
        HeadraceError: the store cannot be read.
    """
    found: dict[str, StoredSpan] = {}
    # Sorting keeps the order of what is equal: the newest first.
    for span in sorted(store.newest_named(SPAN, _LOOKED_AT), key=lambda span: not span.parent_id):
        service = str(span.attributes.get("headrace.service", ""))
        if service and "headrace.cold_start.ready" in span.attributes:
            found.setdefault(service, span)
    return {service: _read(service, span, store.spans_of(span.trace_id)) for service, span in found.items()}


def _read(service: str, cold: StoredSpan, trace: Sequence[StoredSpan]) -> ColdStart:
    return ColdStart(
        service,
        cold.start_ns * _NANO,
        (cold.end_ns - cold.start_ns) * _NANO,
        bool(cold.attributes.get("headrace.cold_start.forked")),
        tuple(_phases(cold, trace)),
    )


def _phases(cold: StoredSpan, trace: Sequence[StoredSpan]) -> Iterator[tuple[str, float]]:
    start = next((span for span in trace if span.parent_id == cold.span_id and span.name == "start"), None)
    if start is None:  # a container of somebody else's, or its spans are not sent yet
        return
    yield "schedule", (start.start_ns - cold.start_ns) * _NANO
    for name in _PHASES:
        for span in trace:
            if span.parent_id == start.span_id and span.name == name:
                yield name, (span.end_ns - span.start_ns) * _NANO
    yield "probe", max(0, cold.end_ns - start.end_ns) * _NANO
    answers = [s.end_ns - s.start_ns for s in trace if s.kind == "server" and _answers(s, start, cold)]
    if answers:
        yield "first answer", answers[0] * _NANO


def _answers(span: StoredSpan, start: StoredSpan, cold: StoredSpan) -> bool:
    return span.service == start.service and span.start_ns >= cold.end_ns
