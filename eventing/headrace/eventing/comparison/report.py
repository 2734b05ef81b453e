"""What two sets of answers show together. Pure."""

from __future__ import annotations

import heapq
import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.eventing.comparison.cost import Cost, Pricing, busy_seconds
from headrace.eventing.comparison.difference import Difference, Rule, Tolerance, difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.eventing.comparison.answers import Answer

KINDS = ("same", "close", "changed", "flip", "broken", "mended")
WORST = 20
"""Events that are named of each sort."""
EXCERPT = 300
"""Characters of an answer that an example shows."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from sending an event to its whole answer; None where nobody measured."""

    count: int
    p50: float | None
    p99: float | None
    most: float | None
    busy: float = 0.0
    """Seconds in which at least one answer was waited for."""

    @property
    def rate(self) -> float | None:
        """Answers in a busy second."""
        return self.count / self.busy if self.busy else None


@dataclass(frozen=True, slots=True)
class Example:
    """An event that is named."""

    request: str
    traces: tuple[str, str]
    """Trace ids of A and B; empty for none."""
    answers: tuple[str, str]
    """How both answers begin."""


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
    """The worst first: those that are neither the same nor close, and at most ``WORST``."""
    latency: tuple[Latency, Latency]
    moved: Sequence[float] = ()
    """The largest difference of two numbers of each event, where there is one."""
    cosines: Sequence[float] = ()
    """The smallest cosine of each event's vectors, where there are any."""
    elapsed: tuple[Sequence[float], Sequence[float]] = ((), ())
    """Milliseconds of A's answers and B's, each in rising order."""
    top: int = 0
    """Events whose first few classes are others."""
    similarity: float | None = None
    """The smallest of two texts; None where no text differs."""
    slowest: tuple[tuple[str, float], ...] = ()
    """Of B: request and milliseconds."""
    examples: Mapping[str, Example] = field(default_factory=dict)
    """By request, of what is named in ``differences`` and ``slowest``."""
    cost: tuple[Cost | None, Cost | None] = (None, None)

    def share(self, kind: str) -> float:
        """The share of a kind among the events that both have answered."""
        return self.counts.get(kind, 0) / self.both if self.both else 0.0

    @property
    def cosine(self) -> float | None:
        """The smallest cosine; None where there are no vectors."""
        return min(self.cosines, default=None)

    @property
    def most(self) -> float:
        """The largest difference of two numbers."""
        return max(self.moved, default=0.0)

    @property
    def cost_ratio(self) -> float | None:
        """What an answer of B costs, as a multiple of one of A; None where nobody measured or nothing has a price."""
        a, b = self.cost
        return b.per_thousand / a.per_thousand if a and b and a.per_thousand else None

    def facts(self) -> dict[str, Any]:
        """As JSON's types, for programs."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "both": self.both,
            "only_a": self.only[0],
            "only_b": self.only[1],
            "counts": {kind: self.counts.get(kind, 0) for kind in KINDS},
            "flips": [{"from": a, "to": b, "count": n} for (a, b), n in largest(self.confusion)],
            "top": self.top,
            "cosine_min": self.cosine,
            "similarity_min": self.similarity,
            "difference_max": self.most if math.isfinite(self.most) else None,
            "latency_ms": [{"p50": one.p50, "p99": one.p99, "max": one.most} for one in self.latency],
            "busy_seconds": [one.busy or None for one in self.latency],
            "rate": [one.rate for one in self.latency],
            "cost": [
                {"amount": one.amount, "per_thousand": one.per_thousand, "currency": one.currency} if one else None
                for one in self.cost
            ],
            "worst": [_fact(found) for found in self.differences],
            "slowest": [{"request": request, "elapsed_ms": elapsed} for request, elapsed in self.slowest],
        }


def compare(
    pairs: Iterable[tuple[Answer | None, Answer | None]],
    *,
    names: tuple[str, str] = ("A", "B"),
    tolerance: Tolerance | None = None,
    rule: Rule = "auto",
    pricing: tuple[Pricing | None, Pricing | None] = (None, None),
) -> Report:
    """Compare the answers of A and B to each event; None stands for no answer.

    What grows with the number of events is a few numbers for each.
    """
    gathered = _Gathered(tolerance or Tolerance(), rule)
    for before, after in pairs:
        gathered.take(before, after)
    return gathered.report(names, pricing)


class _Side:
    """The times of one set of answers."""

    def __init__(self) -> None:
        self.alone = 0
        self.elapsed = array("d")
        self.finished = array("d")

    def take(self, answer: Answer) -> None:
        if answer.elapsed is not None:
            self.elapsed.append(answer.elapsed)
            self.finished.append(math.nan if answer.finished is None else answer.finished)

    def latency(self) -> tuple[Latency, Sequence[float]]:
        spans = zip(self.finished, self.elapsed, strict=True)
        busy = busy_seconds((end - took / 1000, end) for end, took in spans if not math.isnan(end))
        times = array("d", sorted(self.elapsed))
        return Latency(len(times), quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0), busy), times


class _Gathered:
    """What is kept of the pairs that went by."""

    def __init__(self, tolerance: Tolerance, rule: Rule) -> None:
        self._tolerance = tolerance
        self._rule = rule
        self._sides = (_Side(), _Side())
        self._both = 0
        self._counts: Counter[str] = Counter()
        self._confusion: Counter[tuple[str, str]] = Counter()
        self._moved = array("d")
        self._cosines = array("d")
        self._top = 0
        self._similarity = 1.0
        self._texts = False
        self._worst: list[tuple[_Badness, Difference, Example]] = []
        self._slow: list[tuple[tuple[float, str], float, Example]] = []

    def take(self, before: Answer | None, after: Answer | None) -> None:
        for side, answer in zip(self._sides, (before, after), strict=True):
            if answer is not None:
                side.take(answer)
        if after is not None and after.elapsed is not None:
            rank = (after.elapsed, after.request)
            if _is_wanted(self._slow, rank):
                _push(self._slow, (rank, after.elapsed, _example(before, after)))
        if before is None or after is None:
            self._sides[0 if after is None else 1].alone += 1
            return
        self._both += 1
        self._count(difference(before, after, self._tolerance, self._rule), before, after)

    def _count(self, found: Difference, before: Answer, after: Answer) -> None:
        self._counts[found.kind] += 1
        self._confusion.update(found.flips)
        if found.most > 0:
            self._moved.append(found.most)
        if found.cosine is not None:
            self._cosines.append(found.cosine)
        self._top += found.overlap is not None and found.overlap < 1
        if found.similarity is not None:
            self._texts, self._similarity = True, min(self._similarity, found.similarity)
        if found.kind not in {"same", "close"}:
            rank = _badness(found)
            if _is_wanted(self._worst, rank):
                _push(self._worst, (rank, found, _example(before, after)))

    def report(self, names: tuple[str, str], pricing: tuple[Pricing | None, Pricing | None]) -> Report:
        worst = sorted(self._worst, key=lambda one: one[0], reverse=True)
        slow = sorted(self._slow, key=lambda one: one[0], reverse=True)
        (first, a_times), (second, b_times) = (side.latency() for side in self._sides)
        costs = [
            price.cost(one.busy, one.count) if price and one.busy else None
            for price, one in zip(pricing, (first, second), strict=True)
        ]
        return Report(
            names,
            self._both,
            (self._sides[0].alone, self._sides[1].alone),
            self._counts,
            self._confusion,
            tuple(found for _, found, _ in worst),
            (first, second),
            self._moved,
            self._cosines,
            (a_times, b_times),
            self._top,
            self._similarity if self._texts else None,
            tuple((example.request, elapsed) for _, elapsed, example in slow),
            {example.request: example for *_, example in (*worst, *slow)},
            (costs[0], costs[1]),
        )


def quantile(sorted_values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of them does not exceed; None of none."""
    if not sorted_values:
        return None
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def largest(confusion: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    """The flips, the most frequent first."""
    return sorted(confusion.items(), key=lambda flip: (-flip[1], flip[0]))


_Badness = tuple[int, float, float, str]


def _badness(found: Difference) -> _Badness:
    """Larger is worse; no two events have the same."""
    order = ("same", "close", "mended", "changed", "flip", "broken")
    return order.index(found.kind), found.most, -(found.cosine if found.cosine is not None else 1.0), found.request


def _is_wanted(heap: list[Any], rank: tuple[Any, ...]) -> bool:
    """Whether it is among the largest few."""
    return len(heap) < WORST or rank > heap[0][0]


def _push(heap: list[Any], item: tuple[Any, ...]) -> None:
    """Keep the largest few; no two ranks are the same."""
    if len(heap) < WORST:
        heapq.heappush(heap, item)
    else:
        heapq.heapreplace(heap, item)


def _example(before: Answer | None, after: Answer | None) -> Example:
    request = next(answer.request for answer in (before, after) if answer)
    a, b = ((answer.trace, str(answer.value)[:EXCERPT]) if answer else ("", "") for answer in (before, after))
    return Example(request, (a[0], b[0]), (a[1], b[1]))


def _fact(found: Difference) -> dict[str, Any]:
    return {
        "request": found.request,
        "kind": found.kind,
        "difference": found.most if math.isfinite(found.most) else None,
        "cosine": found.cosine,
        "overlap": found.overlap,
        "similarity": found.similarity,
        "flips": found.flips,
        "notes": found.notes,
    }
