"""Medians, as a table for people and as an object for programs."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.eventing.table import lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.eventing.contenders import Contender
    from benchmarks.eventing.rounds import Count, Load, Measured

MS = 1000.0
HEADINGS = ("contender", "promise", "CPU ms/event", "of it broker", "events/s", "ms alone", "lost", "twice")


def report(
    contenders: Sequence[Contender], load: Load, turns: Sequence[Measured], counts: Mapping[str, Count]
) -> dict[str, Any]:
    """The object: what was asked for, on which machine, and for each contender its rounds and their medians."""
    return {
        "load": asdict(load),
        "machine": machine(),
        "contenders": {
            contender.name: {
                "promise": contender.promise,
                **asdict(counts[contender.name]),
                **numbers([turn for turn in turns if turn.contender == contender.name]),
            }
            for contender in contenders
        },
    }


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def table(found: Mapping[str, Any]) -> str:
    """The medians as lines; the cheapest in CPU first."""
    ranked = sorted(found["contenders"].items(), key=lambda item: item[1]["median"]["cpu_ms"])
    return lines([HEADINGS, *(_row(name, one) for name, one in ranked)])


def _row(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    middle = one["median"]
    return (
        name,
        one["promise"],
        f"{middle['cpu_ms']:.3f}",
        f"{middle['broker_cpu_ms']:.3f}",
        f"{middle['events_per_second']:,.0f}",
        f"{middle['latency_ms']:.1f}",
        str(one["lost"]),
        str(one["twice"]),
    )


def numbers(turns: Sequence[Measured]) -> dict[str, Any]:
    """The rounds of one contender, and their medians."""
    rounds = [
        {
            "cpu_ms": (turn.cpu + turn.broker_cpu) * MS,
            "broker_cpu_ms": turn.broker_cpu * MS,
            "events_per_second": turn.events_per_second,
            "latency_ms": turn.latency * MS,
        }
        for turn in turns
    ]
    return {"median": {name: median(each[name] for each in rounds) for name in rounds[0]}, "rounds": rounds}
