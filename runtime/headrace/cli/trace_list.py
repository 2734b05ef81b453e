"""A list of traces: which event, when, how long, how it ended, where the time went."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import typer

from headrace.cli.trace import tree_of
from headrace.cli.trace_print import duration, why_as_json
from headrace.local.trace_why import why

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.local.trace_tree import Branch
    from headrace.local.trace_why import Why


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which traces."""

    since_ns: int = 0
    failed: bool = False
    slowest: bool = False
    most: int = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One trace."""

    trace_id: str
    event: str
    """The event's id; empty for a call without one."""
    began: str
    """RFC 3339."""
    milliseconds: float
    ended: str
    """``answered``, ``retried``, ``failed``, or a dead letter's reason."""
    why: Why


def found(path: Path, wanted: Wanted) -> list[Row]:
    """The traces of a store, as they are wanted; without the requests that brought batches, which are in no one's way.

    Raises:
        ConfigurationError: there is no store.
    """
    from headrace.local.trace_store import TraceStore

    rows: list[Row] = []
    with closing(TraceStore.read(path)) as store:
        listed = store.list_traces(since_ns=wanted.since_ns, failed=wanted.failed, slowest=wanted.slowest)
        for summary in listed:
            branches = tree_of(store, summary.trace_id)
            if branches and not _is_a_batch(branches):
                rows.append(_row(branches, failed=summary.failed))
            if len(rows) == wanted.most:
                break
    return rows


def as_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [{**asdict(row), "why": why_as_json(row.why)} for row in rows]


def print_rows(rows: Sequence[Row], *, why: bool) -> None:
    """A table on standard output."""
    from rich.table import Table
    from rich.text import Text

    from headrace.cli.console import wide_console

    if not rows:
        typer.echo("no such trace")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("event", "trace", "began", "took", "ended", *(("why",) if why else ())):
        table.add_column(name)
    for row in rows:
        cells = (row.event or "-", row.trace_id[:8], row.began, duration(row.milliseconds), row.ended)
        table.add_row(*map(Text, (*cells, *((row.why.sentence(),) if why else ()))))
    wide_console().print(table)


def _row(branches: Sequence[Branch], *, failed: bool) -> Row:
    spent = why(branches)
    first = branches[0].span
    began = datetime.fromtimestamp(first.start_ns / 1e9, timezone.utc).isoformat(timespec="milliseconds")
    ended = "answered"
    if spent.reason:
        ended = spent.reason.partition(":")[0]
    elif spent.retries:
        ended = "retried"
    elif failed:
        ended = "failed"
    return Row(first.trace_id, _event(branches), began.replace("+00:00", "Z"), spent.milliseconds, ended, spent)


def _event(branches: Sequence[Branch]) -> str:
    for branch in branches:
        name = branch.span.attributes.get("cloudevents.event_id")
        if name or (name := _event(branch.children)):
            return str(name)
    return ""


def _is_a_batch(branches: Sequence[Branch]) -> bool:
    first = branches[0].span
    return first.kind == "client" and not first.parent_id and bool(first.links)
