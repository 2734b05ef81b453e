"""``headrace usage``: who used how much, and what it cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from headrace.cli.moments import moment
from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings
from headrace.eventing.usage import DEFAULT_TOPIC

if TYPE_CHECKING:
    from headrace.telemetry.usage.report import By, Report, Row

_SINCE_HELP = "Leave out what was told before: so long ago (90m, 24h, 7d), or a time such as 2026-11-24T12:00:00Z."


def usage(
    by: Annotated[Literal["tenant", "app", "model", "day"], typer.Option(help="What a row stands for.")] = "tenant",
    price_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prices of an hour, see docs/usage.md; no costs without.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help=_SINCE_HELP)] = None,
    topic: Annotated[str, typer.Option(help="Topic of usage.")] = DEFAULT_TOPIC,
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Add up who used how much of the replicas of metered apps (`usage` in headrace.yaml), and what it cost.

    Each second of a replica is in one row: computing, starting, waiting (idle), and ending. `saved` is what one
    replica of each component that never goes would have used beside that.
    """
    found = read_report(kafka, topic, by, price_file=price_file, since=since)
    if output == "json":
        typer.echo(orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2).decode())
    else:
        print_report(found)


def read_report(kafka: str | None, topic: str, by: By, *, price_file: Path | None, since: str | None) -> Report:
    """The report over all that a topic holds.

    Raises:
        ConfigurationError: there is no such topic, or the prices or the moment cannot be read.
        UnavailableError: no broker answers.
    """
    from headrace.eventing.kafka.reader import read_topic
    from headrace.eventing.usage import read_usage
    from headrace.telemetry.prices import read_prices
    from headrace.telemetry.usage.report import report

    now = time.time()
    begin = moment(since, "--since")
    prices = read_prices(price_file) if price_file else None
    records = (record for record in read_topic(kafka_settings(kafka), topic) if record is not None)
    return report(read_usage(records), by, prices=prices, since=begin.timestamp() if begin else 0.0, now=now)


def as_json(found: Report) -> dict[str, Any]:
    """The report as plain values; seconds and costs are not rounded."""
    return {
        "by": found.by,
        "currency": found.currency or None,
        "rows": [_row_json(row) for row in found.rows],
        "total": _row_json(found.total),
        "replicas": found.replicas,
        "ended": found.ended,
        "replica_seconds": found.replica_seconds,
        "saved": {
            "seconds": found.saved_seconds,
            "cost": found.saved_cost,
            "components": [
                {
                    "app": each.app,
                    "component": each.component,
                    "window_seconds": each.window_seconds,
                    "seconds_at_zero": each.seconds_at_zero,
                    "saved_cost": each.saved_cost,
                }
                for each in found.always_on
            ],
        },
    }


def print_report(found: Report) -> None:
    """The report as a table."""
    from rich.table import Table

    from headrace.cli.console import wide_console

    table = Table(box=None, pad_edge=False)
    table.add_column(found.by)
    names = ["events", "items", "compute", "start", "idle", "ending", "all"]
    money = [found.currency, "a 1,000", "of it idle"] if found.currency else []
    for name in (*names, *money):
        table.add_column(name, justify="right")
    for row in (*found.rows, found.total):
        table.add_row(row.key, *_cells(row), *(_money(row) if money else ()))
    wide_console().print(table)
    typer.echo(_summary(found))


def _summary(found: Report) -> str:
    zero = f"{found.saved_seconds:,.1f} s at zero replicas"
    saved = f", {_amount(found.saved_cost)} {found.currency} saved" if found.currency else ""
    return f"{found.replicas} replicas, {found.replica_seconds:,.1f} s in all; against always on: {zero}{saved}"


def _cells(row: Row) -> tuple[str, ...]:
    seconds = (row.compute_seconds, row.cold_start_seconds, row.idle_seconds, row.ending_seconds, row.seconds)
    return f"{row.events:,}", f"{row.items:,}", *(f"{each:,.1f} s" for each in seconds)


def _money(row: Row) -> tuple[str, ...]:
    each = row.cost_per_thousand
    return _amount(row.cost), "-" if each is None else _amount(each), _amount(row.idle_cost)


def _amount(cost: float) -> str:
    return f"{cost:,.2f}" if cost >= 1 else f"{cost:.4f}"


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "events": row.events,
        "items": row.items,
        "tokens": row.tokens,
        "bytes": row.bytes,
        "compute_seconds": row.compute_seconds,
        "cold_start_seconds": row.cold_start_seconds,
        "idle_seconds": row.idle_seconds,
        "ending_seconds": row.ending_seconds,
        "seconds": row.seconds,
        "cost": row.cost,
        "cost_per_thousand": row.cost_per_thousand,
        "idle_cost": row.idle_cost,
    }
