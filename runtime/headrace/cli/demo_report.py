"""How ``headrace demo`` is shown: a live table for people, lines where no terminal is, JSON for programs."""

from __future__ import annotations

import statistics
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from headrace.cli.trace_print import as_json, duration
from headrace.cli.usage import as_json as usage_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.cli.demo_run import Answer
    from headrace.local.trace_tree import Branch
    from headrace.telemetry.usage.report import Report


@dataclass(frozen=True, slots=True)
class DemoFacts:
    """What one demo has shown."""

    cold: Sequence[Answer]
    """The first round, from zero replicas."""
    first: Answer
    """The one of them that woke the models."""
    warm: Sequence[Answer]
    """The second round."""
    alone: Answer
    """One picture alone, warm."""
    trace: Sequence[Branch]
    """Of the event that woke the models."""
    back_at_zero_seconds: float
    usage: Report | None = None
    """Of every replica that was there; None before they have gone."""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "pictures": [asdict(answer) for answer in self.cold],
            "latency_ms": {
                "cold_first": self.first.latency_ms,
                "cold_last": max(answer.latency_ms for answer in self.cold),
                "warm_median": statistics.median(answer.latency_ms for answer in self.warm),
                "warm_last": max(answer.latency_ms for answer in self.warm),
                "warm_alone": self.alone.latency_ms,
            },
            "trace": [as_json(branch) for branch in self.trace],
            "back_at_zero_seconds": round(self.back_at_zero_seconds, 1),
            "usage": usage_json(self.usage) if self.usage else None,
        }


class LiveTable:
    """Answers as they come: a table that grows on a terminal, a line each elsewhere, nothing for JSON.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._table = Table(box=None, pad_edge=False)
        for name, justify in (("picture", "left"), ("label", "left"), ("confidence", "right"), ("latency", "right")):
            self._table.add_column(name, justify=justify)  # type: ignore[arg-type]  # two of rich's literals
        terminal = sys.stdout.isatty() and not quiet
        self._live = Live(self._table, console=Console(highlight=False), refresh_per_second=8) if terminal else None

    def __enter__(self) -> LiveTable:  # noqa: PYI034  # not subclassed
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def add(self, answer: Answer) -> None:
        """One more answer."""
        label = answer.label or f"({answer.problem})"
        confidence = f"{answer.confidence:.0%}" if answer.label else ""
        if self._live:
            self._table.add_row(answer.picture, label, confidence, duration(answer.latency_ms))
        elif not self._quiet:
            typer.echo(f"{answer.picture:<24} {label:<40} {confidence:>5} {duration(answer.latency_ms):>8}")


def print_facts(facts: DemoFacts, output: str) -> None:
    """The summary."""
    document = facts.as_json()
    if output == "json":
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    latency = document["latency_ms"]
    typer.echo(
        f"\ncold: {len(facts.cold)} pictures from zero replicas, "
        f"the one that woke the models after {duration(latency['cold_first'])}, "
        f"the slowest after {duration(latency['cold_last'])}\n"
        f"warm: {len(facts.warm)} at once, median {duration(latency['warm_median'])}, "
        f"the slowest {duration(latency['warm_last'])}; one alone {duration(latency['warm_alone'])}"
    )
