"""What two sets of answers show together. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.eventing.comparison.difference import Difference, Tolerance, difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.eventing.comparison.answers import Answer

KINDS = ("same", "close", "changed", "flip", "broken", "mended")
WORST = 20
"""Events that are named of each sort."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from sending an event to its whole answer; None where nobody measured."""

    count: int
    p50: float | None
    p99: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The comparison of answers B with answers A."""

    names: tuple[str, str]
    both: int
    """Events that both have answered."""
    only: tuple[int, int]
    """Events that A alone, and B alone, have answered."""
    counts: Mapping[str, int]
    """By kind, of those that both have."""
    confusion: Mapping[tuple[str, str], int]
    """How often one class took the place of another."""
    differences: tuple[Difference, ...]
    """Of those that both have, the worst first."""
    latency: tuple[Latency, Latency]
    slowest: tuple[tuple[str, float], ...] = ()
    """Of B: request and milliseconds."""
    traces: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By request that is named, the trace ids of A and B."""

    def share(self, kind: str) -> float:
        """The share of a kind among the events that both have answered."""
        return self.counts.get(kind, 0) / self.both if self.both else 0.0

    @property
    def cosine(self) -> float | None:
        """The smallest cosine; None where there are no vectors."""
        return min((d.cosine for d in self.differences if d.cosine is not None), default=None)

    @property
    def most(self) -> float:
        """The largest difference of two numbers."""
        return max((d.most for d in self.differences), default=0.0)

    def facts(self) -> dict[str, Any]:
        """As JSON's types, for programs."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "both": self.both,
            "only_a": self.only[0],
            "only_b": self.only[1],
            "counts": {kind: self.counts.get(kind, 0) for kind in KINDS},
            "flips": [{"from": a, "to": b, "count": n} for (a, b), n in _largest(self.confusion)],
            "cosine_min": self.cosine,
            "difference_max": self.most if math.isfinite(self.most) else None,
            "latency_ms": [{"p50": one.p50, "p99": one.p99, "max": one.most} for one in self.latency],
            "worst": [
                {
                    "request": d.request,
                    "kind": d.kind,
                    "difference": d.most,
                    "cosine": d.cosine,
                    "overlap": d.overlap,
                    "notes": d.notes,
                }
                for d in self.differences[:WORST]
                if d.kind not in {"same", "close"}
            ],
        }


def compare(
    before: Mapping[str, Answer],
    after: Mapping[str, Answer],
    *,
    names: tuple[str, str] = ("A", "B"),
    tolerance: Tolerance | None = None,
) -> Report:
    """Compare two sets of answers, each by request."""
    both = before.keys() & after.keys()
    found = sorted((difference(before[r], after[r], tolerance or Tolerance()) for r in both), key=_badness)
    slowest = sorted(((a.request, a.elapsed) for a in after.values() if a.elapsed is not None), key=lambda s: -s[1])
    named = [d.request for d in found[:WORST]] + [request for request, _ in slowest[:WORST]]
    return Report(
        names,
        len(both),
        (len(before.keys() - both), len(after.keys() - both)),
        Counter(d.kind for d in found),
        Counter(flip for d in found for flip in d.flips),
        tuple(found),
        (_latency(list(before.values())), _latency(list(after.values()))),
        tuple(slowest[:WORST]),
        {r: (before[r].trace if r in before else "", after[r].trace) for r in named},
    )


def quantile(sorted_values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of them does not exceed; None of none."""
    if not sorted_values:
        return None
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def _latency(answers: Sequence[Answer]) -> Latency:
    times = sorted(a.elapsed for a in answers if a.elapsed is not None)
    return Latency(len(times), quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0))


def _badness(found: Difference) -> tuple[int, float, float, str]:
    order = ("broken", "flip", "changed", "mended", "close", "same")
    return order.index(found.kind), -found.most, found.cosine if found.cosine is not None else 1.0, found.request


def _largest(confusion: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(confusion.items(), key=lambda flip: (-flip[1], flip[0]))
