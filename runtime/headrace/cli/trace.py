"""``headrace trace``: what happened to an event, as a tree; or which events were slow or failed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.target import OUTPUT_HELP
from headrace.errors import ConfigurationError, HeadraceError
from headrace.local.state import Home

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from headrace.local.trace_store import TraceStore
    from headrace.local.trace_tree import Branch

    Found = TypeVar("Found")

SHOWN = 20
"""Traces of a list, where nobody says how many."""


def trace(
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of an event or a result, or a trace id (8 digits of it).")
    ] = None,
    slowest: Annotated[int | None, typer.Option(min=1, metavar="N", help="List the N slowest.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="List those of which something failed, newest first.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(help="List those of the last 10m, 2h, 1d; or since a time of RFC 3339.")
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="Say in a sentence where the time went.")] = False,
    store: Annotated[Path | None, typer.Option(help="A trace store [default: the one of `headrace up`].")] = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Print the trace of an event as a tree with durations: every hop, every wait, every retry, the cold start.

    Without ID: a list of events, the slowest, the failed, or the latest. Reads what `headrace up` and `headrace demo`
    have recorded; works while they run and after they ended.
    """
    stores = [store] if store else [Home.of().traces, Home.of().path / "demo" / "traces.sqlite"]
    if identifier is None:
        _list(stores, slowest=slowest, failed=failed, since=since, why=why, as_json=output == "json")
        return
    if slowest or failed or since:
        raise ConfigurationError("An ID names one trace", hint="leave ID out for a list, or the other options")
    branches = _first(stores, lambda path: branches_of(identifier, path))
    if output == "json":
        typer.echo(orjson.dumps(_as_json(branches, why=why), option=orjson.OPT_INDENT_2).decode())
        return
    print_branches(branches)
    if why:
        from headrace.local.trace_why import why as reason

        typer.echo(reason(branches).sentence())


def branches_of(identifier: str, path: Path) -> tuple[Branch, ...]:
    """The trace of an event as a tree.

    Raises:
        HeadraceError: no trace has this id.
        ConfigurationError: there is no store.
    """
    from headrace.local.trace_store import TraceStore

    with closing(TraceStore.read(path)) as store:
        trace_id = store.find_trace(identifier)
        if trace_id is None:
            raise HeadraceError(
                f"No trace of {identifier!r} in {path}",
                hint="spans come within a second; `headrace results --output json` shows ids as `causationid`",
            )
        return tree_of(store, trace_id)


def tree_of(store: TraceStore, trace_id: str) -> tuple[Branch, ...]:
    """The tree of one trace, with what links into it."""
    from headrace.local.trace_tree import tree

    return tree(store.spans_of(trace_id), store.linked_to(trace_id))


def print_branches(branches: tuple[Branch, ...]) -> None:
    """The trees on standard output."""
    from headrace.cli.console import wide_console
    from headrace.cli.trace_print import print_trees

    console = wide_console()
    typer.echo(f"trace {branches[0].span.trace_id}")
    for tree in print_trees(branches):
        console.print(tree)


def _as_json(branches: tuple[Branch, ...], *, why: bool) -> object:
    from headrace.cli.trace_print import as_json, why_as_json
    from headrace.local.trace_why import why as reason

    printed = [as_json(branch) for branch in branches]
    return {"why": why_as_json(reason(branches)), "spans": printed} if why else printed


def _list(
    stores: list[Path], *, slowest: int | None, failed: bool, since: str | None, why: bool, as_json: bool
) -> None:
    from headrace.cli.moments import moment
    from headrace.cli.trace_list import Wanted, as_rows, found, print_rows

    if not (slowest or failed or since):
        raise ConfigurationError("Which trace?", hint="give an ID, --slowest N, --failed or --since 10m")
    begin = moment(since, "--since")
    wanted = Wanted(
        since_ns=int(begin.timestamp() * 1e9) if begin else 0,
        failed=failed,
        slowest=slowest is not None,
        most=slowest or SHOWN,
    )
    rows = _first(stores, lambda path: found(path, wanted))
    if as_json:
        typer.echo(orjson.dumps(as_rows(rows), option=orjson.OPT_INDENT_2).decode())
    else:
        print_rows(rows, why=why)


def _first(stores: list[Path], ask: Callable[[Path], Found]) -> Found:
    """The answer of the first store that has one; the error is that of the first."""
    faults: list[HeadraceError] = []
    for store in stores:
        try:
            return ask(store)
        except HeadraceError as fault:
            faults.append(fault)
    raise faults[0]
