"""A trace for people: a tree with durations, waits and faults."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.local.span import SpanEvent, StoredSpan
    from headrace.local.trace_tree import Branch
    from headrace.local.trace_why import Why

_KINDS = {"producer": "PRODUCER", "consumer": "CONSUMER", "client": "CLIENT", "server": "SERVER"}
_SHOWN = ("headrace.wait_seconds", "headrace.attempt", "headrace.reason", "error.message")
SECOND = 1000.0
"""Milliseconds."""


def print_trees(branches: Sequence[Branch]) -> list[Tree]:
    """One rich tree a root: name, kind, service, when it began after the first span, and how long it took."""
    origin = min(branch.span.start_ns for branch in branches)
    return [_tree(branch, None, origin) for branch in branches]


def as_json(branch: Branch) -> dict[str, Any]:
    """The same as plain values."""
    span = branch.span
    return {
        "name": span.name,
        "kind": span.kind,
        "service": span.service,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "start_ns": span.start_ns,
        "duration_ms": round(span.duration_ms, 3),
        "status": span.status,
        "attributes": dict(span.attributes),
        "events": [
            {"name": event.name, "time_ns": event.time_ns, "attributes": dict(event.attributes)}
            for event in span.events
        ],
        "orphan": branch.orphan,
        "linked": branch.linked,
        "children": [as_json(child) for child in branch.children],
    }


def why_as_json(why: Why) -> dict[str, Any]:
    """Where the time went, as plain values."""
    return {**asdict(why), "sentence": why.sentence()}


def _tree(branch: Branch, above: Tree | None, origin: int) -> Tree:
    text = _line(branch, origin)
    node = Tree(text) if above is None else above.add(text)
    for event in branch.span.events:
        node.add(_event_line(event, branch.span))
    for child in branch.children:
        _tree(child, node, origin)
    return node


def _line(branch: Branch, origin: int) -> Text:
    span = branch.span
    failed = span.status == "error"
    text = Text(span.name, style="bold red" if failed else "bold")
    if kind := _KINDS.get(span.kind):
        text.append(f" {kind}", style="dim")
    text.append(f"  {duration(span.duration_ms)}", style="green")
    text.append(f"  at {duration((span.start_ns - origin) / 1e6)}  {span.service}", style="dim")
    if failed:
        text.append(f"  {span.status_message}", style="red")
    if branch.orphan:
        text.append("  (its parent is not here)", style="yellow")
    if (kept := span.attributes.get("headrace.kept")) and (branch.orphan or not span.parent_id):
        text.append(f"  (not sampled; kept: {kept})", style="dim")
    if branch.linked:
        text.append("  (linked)", style="dim")
    return text


def _event_line(event: SpanEvent, span: StoredSpan) -> Text:
    told = " ".join(_told(name, event.attributes[name]) for name in _SHOWN if name in event.attributes)
    moment = duration((event.time_ns - span.start_ns) / 1e6)
    return Text(f"· {event.name} {told}".rstrip(), style="cyan").append(f"  at +{moment}", style="dim")


def _told(name: str, value: object) -> str:
    if name == "headrace.wait_seconds":
        return duration(float(str(value)) * SECOND)
    return f"attempt {value}" if name == "headrace.attempt" else str(value)


def duration(milliseconds: float) -> str:
    """Milliseconds as people read them: 0.41 ms, 12 ms, 3.20 s."""
    if milliseconds >= SECOND:
        return f"{milliseconds / SECOND:.2f} s"
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"  # noqa: PLR2004  # two digits
