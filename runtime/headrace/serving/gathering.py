"""The numbers of several processes as one.

Counts, histograms and amounts are added up; of the moments at which processes began the first one stands, and of what
tells a version by its labels one. A process that is gone leaves its counts behind, as they were when somebody looked
last: a sum that fell would look like a restart, and Prometheus would count all that is left once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]
"""Its name, its labels and its value."""
Family = tuple[str, str, str, "tuple[Sample, ...]"]
"""Name, help text, type in Prometheus' words, samples."""
Snapshot = tuple[Family, ...]
"""All numbers of a process at one moment."""

_EARLIEST = ("_created", "_start_time_seconds")
_LARGEST = ("_info", "_total_bytes", "_ratio", "headrace_start_seconds")
"""What processes have in common, or do at the same time."""
_COUNTED = ("counter", "histogram", "summary")


def added(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum, its families and samples in the order in which they first came."""
    families: dict[str, tuple[str, str, dict[tuple[str, Labels], float]]] = {}
    for snapshot in snapshots:
        for name, text, kind, samples in snapshot:
            _, _, values = families.setdefault(name, (text, kind, {}))
            for sample, labels, value in samples:
                known = values.get((sample, labels))
                values[sample, labels] = value if known is None else _both(sample, known, value)
    return tuple(
        (name, text, kind, tuple((sample, labels, value) for (sample, labels), value in values.items()))
        for name, (text, kind, values) in families.items()
    )


def counts(snapshot: Snapshot) -> Snapshot:
    """What stays true of a process that is gone."""
    return tuple(family for family in snapshot if family[2] in _COUNTED)


class Gathered:
    """The latest snapshot of each process, and the counts of those that are gone."""

    def __init__(self) -> None:
        self._latest: dict[Hashable, Snapshot] = {}
        self._left: Snapshot = ()

    def put(self, process: Hashable, snapshot: Snapshot) -> None:
        """A process as it is now."""
        self._latest[process] = snapshot

    def gone(self, process: Hashable) -> None:
        """The process is no more."""
        last = self._latest.pop(process, None)
        if last is not None:
            self._left = added((self._left, counts(last)))

    def total(self, *, without: Hashable = None) -> Snapshot:
        """The sum of all, but for one process that knows its own numbers better."""
        there = [snapshot for process, snapshot in self._latest.items() if process != without]
        return added((self._left, *there))


def _both(sample: str, one: float, other: float) -> float:
    if sample.endswith(_EARLIEST):
        return min(one, other)
    return max(one, other) if sample.endswith(_LARGEST) else one + other
