"""The ways of compared events, where `headrace up` has kept them here."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.local.state import Home

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.eventing.comparison.page import Step
    from headrace.local.trace_tree import Branch


def trace_steps(identifier: str) -> Sequence[Step]:
    """The spans of a trace in the order of its tree; empty where the store of this home does not have it."""
    from headrace.local.trace_store import TraceStore
    from headrace.local.trace_tree import tree

    path = Home.of().traces
    if not path.exists():
        return ()
    try:
        with closing(TraceStore.read(path)) as store:
            branches = tree(store.spans_of(identifier), store.linked_to(identifier))
    except HeadraceError:  # a page without ways is better than none
        return ()
    origin = min((branch.span.start_ns for branch in branches), default=0)
    return [step for branch in branches for step in _steps(branch, origin, 0)]


def _steps(branch: Branch, origin: int, depth: int) -> Iterator[Step]:
    from headrace.eventing.comparison.page import Step

    span = branch.span
    begins = (span.start_ns - origin) / 1e6
    yield Step(depth, f"{span.name} · {span.service}", begins, span.duration_ms, span.status == "error")
    for child in branch.children:
        yield from _steps(child, origin, depth + 1)
