"""What becomes of the numbers with more partitions, fewer keys and larger events: one table of many short runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks.eventing.report import machine, numbers
from benchmarks.eventing.rounds import run
from benchmarks.eventing.table import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.eventing.contenders import Contender
    from benchmarks.eventing.rounds import Load

KILOBYTE = 1000
LARGE_SHARE = 10
"""Events of 100 KB are so many times fewer than those of 1 KB, and those of 1 MB once more: a run takes hours else."""


@dataclass(frozen=True, slots=True)
class Step:
    """One case."""

    what: str
    load: Load


def steps(load: Load) -> list[Step]:
    """The cases: each changes one thing of ``load``."""
    fewer = [max(10, load.events // share) for share in (LARGE_SHARE, LARGE_SHARE**2)]
    return [
        *(Step(f"{count} partitions", replace(load, partitions=count)) for count in (1, 4, 16)),
        *(Step(f"{count} keys, in order", replace(load, keys=count)) for count in (1, 16, 1000)),
        Step("1 KB", replace(load, size=KILOBYTE)),
        Step("100 KB", replace(load, size=100 * KILOBYTE, events=fewer[0])),
        Step("1 MB", replace(load, size=1000 * KILOBYTE, events=fewer[1])),
    ]


def grow(
    contenders: Sequence[Contender], load: Load, folder: Path, say: Callable[[str], None]
) -> tuple[str, dict[str, Any]]:
    """Run every case; the table, and the object for programs."""
    cases: list[dict[str, Any]] = []
    for number, step in enumerate(steps(load)):
        say(f"--- {step.what}")
        place = folder / str(number)
        place.mkdir()
        turns, counts = run(contenders, step.load, place, say)
        for contender in contenders:
            found = numbers([turn for turn in turns if turn.contender == contender.name])
            count = asdict(counts[contender.name])
            cases.append({"case": step.what, "load": asdict(step.load), "contender": contender.name, **count, **found})
    return table(cases), {"machine": machine(), "growth": cases}


def table(cases: Sequence[dict[str, Any]]) -> str:
    """A line for each case and contender."""
    headings = ("case", "contender", "CPU ms/event", "of it broker", "events/s", "ms alone", "lost", "twice")
    rows = [
        (
            one["case"],
            one["contender"],
            f"{one['median']['cpu_ms']:.3f}",
            f"{one['median']['broker_cpu_ms']:.3f}",
            f"{one['median']['events_per_second']:,.0f}",
            f"{one['median']['latency_ms']:.1f}",
            str(one["lost"]),
            str(one["twice"]),
        )
        for one in cases
    ]
    return lines([headings, *rows])
