"""The replicas of a service over time, as lines for a terminal, and the steps with the numbers behind each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.local.decisions import Decision

_BLOCKS = " ▁▂▃▄▅▆▇█"


def steps(decisions: Sequence[Decision]) -> list[Decision]:
    """Those that changed the number of replicas."""
    return [decision for decision in decisions if decision.asked != decision.before]


def told(decision: Decision, begin: float) -> str:
    """One step in a line: when, from how many to how many, and why."""
    return f"{decision.time - begin:8.1f} s   {decision.before} -> {decision.asked}   {decision.why}"


def curve(decisions: Sequence[Decision], width: int = 72) -> list[str]:
    """A chart of replicas asked for (blocks) and requests (one row of small blocks), the time from left to right."""
    begin, end = decisions[0].time, decisions[-1].time
    columns = [_at(decisions, begin + (end - begin) * column / max(1, width - 1)) for column in range(width)]
    most = max(decision.asked for decision in columns) or 1
    lines = [
        f"{level:4d} |" + "".join("█" if decision.asked >= level else " " for decision in columns)
        for level in range(most, 0, -1)
    ]
    requests = [decision.current for decision in columns]
    peak = max(requests) or 1
    small = "".join(_BLOCKS[math.ceil(count / peak * (len(_BLOCKS) - 1))] for count in requests)
    return [
        *(line.rstrip() for line in lines),
        f"   0 +{'-' * width}",
        f"      {small}".rstrip(),
        f"      replicas asked for, and requests below (at most {max(requests)}), over {end - begin:.0f} s",
    ]


def _at(decisions: Sequence[Decision], moment: float) -> Decision:
    found = decisions[0]
    for decision in decisions:
        if decision.time > moment:
            break
        found = decision
    return found
