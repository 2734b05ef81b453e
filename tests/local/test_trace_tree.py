"""Spans -> tree -> rows."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from headrace.local.span import SpanEvent, SpanLink, StoredSpan
from headrace.local.trace_tree import rows, tree

if TYPE_CHECKING:
    from headrace.local.trace_tree import Branch

TRACE, OTHER = "a" * 32, "b" * 32


def span(name: str, parent: str = "", start: int = 0, trace: str = TRACE, *links: str) -> StoredSpan:
    """A span whose id is its name; `links` are names of spans of TRACE."""
    return StoredSpan(
        *(trace, name, parent, name, "internal", "service", start * 1_000_000, (start + 5) * 1_000_000),
        attributes={},
        events=(SpanEvent("happened", start, {}),),
        links=tuple(SpanLink(TRACE, link, {}) for link in links),
    )


def shape(branches: tuple[Branch, ...]) -> list[str]:
    """The tree in short: depth by dots, ? for an orphan, ~ for a linked one."""
    return [
        "." * row.depth + row.name + ("?" if row.orphan else "") + ("~" if row.linked else "") for row in rows(branches)
    ]


SPANS = [
    span("publish", start=0),
    span("process", "publish", 2),
    span("post", "process", 3),
    span("results", "process", 9),
    span("pre", "post", 4),
    span("infer", "post", 5),
]
SHAPE = ["publish", ".process", "..post", "...pre", "...infer", "..results"]


def test_children_stand_below_their_parents_by_start() -> None:
    """In whatever order the spans came."""
    for seed in range(10):
        assert shape(tree(Random(seed).sample(SPANS, len(SPANS)))) == SHAPE


def test_rows_tell_times_from_the_earliest_span() -> None:
    """Offsets and durations in milliseconds, events with them."""
    found = rows(tree(SPANS))
    assert [row.offset_ms for row in found] == [0, 2, 3, 4, 5, 9]
    assert {row.duration_ms for row in found} == {5.0}
    assert found[0].events == (SpanEvent("happened", 0, {}),)


def test_a_span_without_its_parent_is_an_orphan() -> None:
    """A root that names a parent is flagged; a real root is not."""
    assert shape(tree([span("late", "lost", 3), *SPANS[:1]])) == ["publish", "late?"]


def test_no_spans_make_no_tree() -> None:
    """Not an error: the trace may not have arrived yet."""
    assert tree([]) == ()
    assert rows(()) == ()


def test_a_circle_ends() -> None:
    """Nonsense of a broken exporter is shown once, and does not hang."""
    assert shape(tree([span("a", "b", 1), span("b", "a", 2)])) == ["a?", ".b"]
    assert shape(tree([span("a", "a", 1)])) == ["a?"]


def test_a_batch_stands_below_the_event_that_it_links_to() -> None:
    """With its own children, in their order among the event's; a span of that trace that links nowhere does not."""
    batch = span("batch", "elsewhere", 4, OTHER, "process")
    others = [batch, span("model", "batch", 5, OTHER), span("unrelated", "", 1, OTHER)]
    assert shape(tree(SPANS, others)) == [
        *("publish", ".process", "..post", "...pre", "...infer", "..batch~", "...model", "..results"),
    ]


def test_a_linked_circle_ends() -> None:
    """Also there."""
    others = [span("x", "y", 1, OTHER, "publish"), span("y", "x", 2, OTHER)]
    assert shape(tree(SPANS[:1], others)) == ["publish", ".x~", "..y"]
