"""How work on a cluster is shown: a live table on a terminal, a line a step elsewhere; always on standard error."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.manifests.cluster.progress import Step
    from headrace.manifests.cluster.reference import Reference

_WIDTH = 9
"""Of the longest word of a step."""


class Progress:
    """Shows steps as they come. Use it in a ``with`` statement, and give it as ``report``.

    Args:
        quiet: Show nothing, for output that a program reads.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._waiting: dict[Reference, str] = {}
        live = self._console.is_terminal and not quiet
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if live else None

    def __enter__(self) -> Progress:  # noqa: PYI034  # not subclassed
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *fault: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, step: Step) -> None:
        """Show a step; what stays as it is is no step."""
        if self._quiet or step.what == "unchanged":
            return
        if step.what == "waiting":
            self._waiting[step.reference] = step.detail
        elif self._waiting.pop(step.reference, None) is None and step.what == "ready":
            # It was so from the start.
            return
        if not self._live:
            typer.echo(line(step), err=True)
            return
        if step.what != "waiting":
            self._console.print(line(step), markup=False)
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for reference, why in self._waiting.items():
            table.add_row("waiting", Text(str(reference)), Text(why))
        return table


def line(step: Step) -> str:
    """A step in one line."""
    return f"{step.what:{_WIDTH}}  {step.reference}{f': {step.detail}' if step.detail else ''}"


def summary(steps: Sequence[Step]) -> str:
    """How many resources became what: ``3 created, 1 pruned``."""
    counts = Counter(step.what for step in steps)
    return ", ".join(f"{count} {what}" for what, count in counts.items())
