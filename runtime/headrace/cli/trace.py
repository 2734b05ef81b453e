"""``headrace trace``: what happened to an event, as a tree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.target import OUTPUT_HELP
from headrace.errors import HeadraceError
from headrace.local.state import Home

if TYPE_CHECKING:
    from headrace.local.trace_tree import Branch


def trace(
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="Id of an event or a result, or a trace id (8 digits of it).")
    ],
    store: Annotated[Path | None, typer.Option(help="A trace store [default: the one of `headrace up`].")] = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Print the trace of an event as a tree with durations: every hop, every wait, every retry.

    Reads what `headrace up` and `headrace demo` have recorded; works while they run and after they ended.
    """
    branches = _find(identifier, [store] if store else [Home.of().traces, Home.of().path / "demo" / "traces.sqlite"])
    if output == "json":
        from headrace.cli.trace_print import as_json

        typer.echo(orjson.dumps([as_json(branch) for branch in branches], option=orjson.OPT_INDENT_2).decode())
        return
    print_branches(branches)


def _find(identifier: str, stores: list[Path]) -> tuple[Branch, ...]:
    """In the first store that has it; the error is that of the first."""
    faults: list[HeadraceError] = []
    for store in stores:
        try:
            return branches_of(identifier, store)
        except HeadraceError as fault:
            faults.append(fault)
    raise faults[0]


def branches_of(identifier: str, path: Path) -> tuple[Branch, ...]:
    """The trace of an event as a tree.

    Raises:
        HeadraceError: no trace has this id.
        ConfigurationError: there is no store.
    """
    from contextlib import closing

    from headrace.local.trace_store import TraceStore
    from headrace.local.trace_tree import tree

    with closing(TraceStore.read(path)) as store:
        trace_id = store.find_trace(identifier)
        if trace_id is None:
            raise HeadraceError(
                f"No trace of {identifier!r} in {path}",
                hint="spans come within a second; `headrace results --output json` shows ids as `causationid`",
            )
        return tree(store.spans_of(trace_id), store.linked_to(trace_id))


def print_branches(branches: tuple[Branch, ...]) -> None:
    """The trees on standard output."""
    from headrace.cli.console import wide_console
    from headrace.cli.trace_print import print_trees

    console = wide_console()
    typer.echo(f"trace {branches[0].span.trace_id}")
    for tree in print_trees(branches):
        console.print(tree)
