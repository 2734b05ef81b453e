"""What telemetry costs an event: CPU with tracing off, unsampled, sampled 1 %, sampled 100 % (docs/benchmarks.md).

python -m benchmarks.telemetry --events 250 --rounds 12 --json found.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import uvloop
from benchmarks.eventing.report import machine
from benchmarks.telemetry.calls import cost
from benchmarks.telemetry.way import Way
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource

from headrace.telemetry.exporting import CountedProcessor, StoreKeeper, Tally
from headrace.telemetry.provider import RuledProvider
from headrace.telemetry.sampling import Sampling

US = 1e6
NEVER = 3600.0
"""Seconds from which an event is slow, so that none is."""
HEADINGS = ("way", "tracing", "least CPU us/event", "over off", "median", "over off", "spans/event")


@dataclass(frozen=True, slots=True)
class Mode:
    """How spans are treated."""

    name: str
    ratio: float | None
    """Share of traces that is sampled; None for no tracing at all."""
    kept: bool = False
    """Whether unsampled events are watched, to be kept where they are slow or fail."""


MODES = (
    Mode("off", None),
    Mode("unsampled", 0.0),
    Mode("unsampled, watched", 0.0, kept=True),
    Mode("sampled 1 %", 0.01),
    Mode("sampled 1 %, rest watched", 0.01, kept=True),
    Mode("sampled 100 %", 1.0),
)
WAYS = {"single": 1, "batches of 16": 16}


@dataclass(frozen=True, slots=True)
class Turn:
    """One mode's turn in a round."""

    way: str
    mode: str
    cpu_us: float
    """CPU of the process, user and system, an event: of all its threads, the exporter's too."""
    spans: float
    """Spans that left, an event."""


def main() -> None:
    """Measure, and print the table; with ``--json``, write the object too."""
    options = _options()
    collector = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.telemetry.collector"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert collector.stdout is not None
        url = collector.stdout.readline().strip()
        uvloop.install()
        calls = {mode.name: _calls(mode, url, options.looks) for mode in MODES}
        turns = asyncio.run(_measure(options.events, options.rounds, url))
    finally:
        collector.kill()
        collector.communicate()
    found = _report(options, turns, calls)
    print(_table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def _calls(mode: Mode, url: str, looks: int) -> float:
    """Microseconds of CPU that an event's calls to telemetry take in this thread, without the exporter's."""
    provider, _ = _provider(mode, url)
    trace._TRACER_PROVIDER = provider  # noqa: SLF001  # the API lets nobody change it, and each mode has its own
    try:
        return cost(looks) * US
    finally:
        trace._TRACER_PROVIDER = None  # noqa: SLF001
        if provider is not None:
            provider.shutdown()


async def _measure(events: int, rounds: int, url: str) -> list[Turn]:
    turns: list[Turn] = []
    async with Way() as way:
        for at in range(rounds + 1):
            print(f"round {at} of {rounds}", file=sys.stderr)
            # In changing order: what a machine does beside hits each alike. The first round warms up.
            modes = MODES[at % len(MODES) :] + MODES[: at % len(MODES)]
            found = [await _turn(way, name, mode, events, url) for name in WAYS for mode in modes]
            turns += found if at else []
    return turns


async def _turn(way: Way, name: str, mode: Mode, events: int, url: str) -> Turn:
    provider, tally = _provider(mode, url)
    trace._TRACER_PROVIDER = provider  # noqa: SLF001  # as above
    began = process_time()
    await way.go(events, WAYS[name])
    if provider is not None:
        await asyncio.to_thread(provider.force_flush)
    spent = process_time() - began
    trace._TRACER_PROVIDER = None  # noqa: SLF001
    if provider is not None:
        await asyncio.to_thread(provider.shutdown)
    return Turn(name, mode.name, spent / events * US, tally.exported / events)


def _provider(mode: Mode, url: str) -> tuple[RuledProvider | None, Tally]:
    tally = Tally("collector", "otlp_http_span_exporter")
    if mode.ratio is None:
        return None, tally
    provider = RuledProvider(Sampling(bound=round(mode.ratio * 2**64)), Resource.create({"service.name": "bench"}))
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    processor = CountedProcessor(exporter, tally, most=1 << 20, delay=200)
    provider.add_span_processor(processor)
    if mode.kept:
        provider.keeper = StoreKeeper(processor, provider.resource, NEVER)
    return provider, tally


def _report(options: argparse.Namespace, turns: list[Turn], calls: dict[str, float]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in WAYS:
        off = [turn.cpu_us for turn in turns if (turn.way, turn.mode) == (name, "off")]
        for mode in MODES:
            mine = [turn for turn in turns if (turn.way, turn.mode) == (name, mode.name)]
            found.setdefault(name, {})[mode.name] = {
                "cpu_us": {"least": min(turn.cpu_us for turn in mine), "median": median(turn.cpu_us for turn in mine)},
                "over_off_us": {
                    "least": min(turn.cpu_us for turn in mine) - min(off),
                    "median": median(turn.cpu_us for turn in mine) - median(off),
                },
                "spans": median(turn.spans for turn in mine),
                "rounds": [asdict(turn) for turn in mine],
            }
    over = {name: {"cpu_us": spent, "over_off_us": spent - calls["off"]} for name, spent in calls.items()}
    load = {"events": options.events, "rounds": options.rounds}
    return {"load": load, "machine": machine(), "calls": over, "ways": found}


def _table(found: dict[str, Any]) -> str:
    rows = [HEADINGS]
    for mode, one in found["calls"].items():
        rows.append(("calls alone", mode, f"{one['cpu_us']:.1f}", f"{one['over_off_us']:+.1f}", "", "", ""))
    for name, modes in found["ways"].items():
        for mode, one in modes.items():
            cpu, over = one["cpu_us"], one["over_off_us"]
            least = (f"{cpu['least']:.0f}", f"{over['least']:+.0f}")
            middle = (f"{cpu['median']:.0f}", f"{over['median']:+.0f}")
            rows.append((name, mode, *least, *middle, f"{one['spans']:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.telemetry", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--events", type=int, default=250, help="events a turn")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--looks", type=int, default=2000, help="times that the calls alone are timed")
    parser.add_argument("--json", type=Path, help="file for the numbers of every round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
