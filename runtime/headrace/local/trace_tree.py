"""Spans -> the tree of one trace, and its rows for a table. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headrace.local.span import SpanEvent, StoredSpan


@dataclass(frozen=True, slots=True)
class Branch:
    """A span and what hangs below it, by start."""

    span: StoredSpan
    children: tuple[Branch, ...] = ()
    orphan: bool = False
    """It names a parent that is not among the spans: not exported yet, dropped, or of a process that died."""
    linked: bool = False
    """It is of another trace, and stands below the span that it links to: a batch below each of its events."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a printed tree."""

    depth: int
    name: str
    kind: str
    service: str
    offset_ms: float
    """From the start of the earliest span."""
    duration_ms: float
    status: str
    status_message: str
    events: tuple[SpanEvent, ...]
    orphan: bool
    linked: bool
    span: StoredSpan


def tree(spans: Sequence[StoredSpan], linked: Iterable[StoredSpan] = ()) -> tuple[Branch, ...]:
    """The roots of a trace with everything below them, by start; orphans are roots as well.

    Args:
        spans: All spans of the trace, in any order.
        linked: Spans of other traces (``TraceStore.linked_to``): one that links to a span of this trace is put below
            it, together with its own children.
    """
    own = {span.span_id: span for span in spans}
    children: dict[str, list[StoredSpan]] = defaultdict(list)
    others: dict[tuple[str, str], list[StoredSpan]] = defaultdict(list)
    grafts: dict[str, list[StoredSpan]] = defaultdict(list)
    trace_id = spans[0].trace_id if spans else ""
    for span in own.values():
        children[span.parent_id].append(span)
    for span in linked:
        others[span.trace_id, span.parent_id].append(span)
        for target in sorted({link.span_id for link in span.links if link.trace_id == trace_id}):
            grafts[target].append(span)
    roots = [span for span in own.values() if span.parent_id not in own]
    grown = _Grower(children, others, grafts)
    found = [grown.branch(span, orphan=bool(span.parent_id)) for span in roots]
    # Spans whose parents run in a circle hang below no root, and are shown none the less.
    rest = sorted((span for span in own.values() if span.span_id not in grown.seen), key=_by_start)
    found += [grown.branch(span, orphan=True) for span in rest if span.span_id not in grown.seen]
    return tuple(sorted(found, key=lambda branch: _by_start(branch.span)))


def rows(branches: Sequence[Branch]) -> tuple[Row, ...]:
    """The lines of the tree from top to bottom."""
    origin = min((branch.span.start_ns for branch in branches), default=0)
    return tuple(_rows(branches, 0, origin))


class _Grower:
    """Grows branches; each span of the trace once."""

    def __init__(
        self,
        children: dict[str, list[StoredSpan]],
        others: dict[tuple[str, str], list[StoredSpan]],
        grafts: dict[str, list[StoredSpan]],
    ) -> None:
        self.seen: set[str] = set()
        self._children = children
        self._others = others
        self._grafts = grafts

    def branch(self, span: StoredSpan, *, orphan: bool) -> Branch:
        self.seen.add(span.span_id)
        below = [
            self.branch(child, orphan=False)
            for child in self._children.get(span.span_id, ())
            if child.span_id not in self.seen
        ]
        below += [self._graft(other, frozenset(), linked=True) for other in self._grafts.get(span.span_id, ())]
        return Branch(span, tuple(sorted(below, key=lambda branch: _by_start(branch.span))), orphan=orphan)

    def _graft(self, span: StoredSpan, above: frozenset[str], *, linked: bool) -> Branch:
        above |= {span.span_id}
        below = [
            self._graft(child, above, linked=False)
            for child in sorted(self._others.get((span.trace_id, span.span_id), ()), key=_by_start)
            if child.span_id not in above
        ]
        return Branch(span, tuple(below), linked=linked)


def _rows(branches: Sequence[Branch], depth: int, origin: int) -> Iterator[Row]:
    for branch in branches:
        span = branch.span
        yield Row(
            depth=depth,
            name=span.name,
            kind=span.kind,
            service=span.service,
            offset_ms=(span.start_ns - origin) / 1e6,
            duration_ms=span.duration_ms,
            status=span.status,
            status_message=span.status_message,
            events=span.events,
            orphan=branch.orphan,
            linked=branch.linked,
            span=span,
        )
        yield from _rows(branch.children, depth + 1, origin)


def _by_start(span: StoredSpan) -> tuple[int, str]:
    return span.start_ns, span.span_id
