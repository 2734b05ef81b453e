"""Values over time, averaged over a window as Knative averages them.

One bucket a second (the interval of reports). The part of a window before the first value does not count, so that a
burst is seen at its own height; the part after the last one does not either, as long as it is shorter than the window.
"""

from __future__ import annotations

import math

_DIGITS = 1e6
"""A linear average is cut after so many digits, so that rounding never asks for one more replica."""
_LEAST_COEFFICIENT = 0.2
_WEIGHT = 0.9999
"""Of all weights of an unbounded window, how much the window holds at least."""


class Buckets:
    """A window of values.

    Args:
        window: Seconds.
        granularity: Seconds of one bucket.
        weighted: Whether later values weigh more (``metric-aggregation-algorithm: weighted-exponential``).
    """

    def __init__(self, window: float, granularity: float = 1.0, *, weighted: bool = False) -> None:
        self._granularity = granularity
        self._weighted = weighted
        self._values: dict[int, float] = {}
        self._first = self._last = 0
        self.resize(window)

    def resize(self, window: float) -> None:
        """Average over ``window`` seconds from now on; what is known stays known, as far as it fits."""
        self._count = max(1, math.ceil(window / self._granularity - 1e-9))
        if self._values:
            self._first = max(self._first, self._last - self._count + 1)
            self._forget()

    def record(self, now: float, value: float) -> None:
        """Add ``value`` to the bucket of ``now``."""
        index = self._index(now)
        if not self._values or index - self._last >= self._count:
            # A whole window without a value: begin anew.
            self._values.clear()
            self._first = self._last = index
        self._last = max(self._last, index)
        self._values[index] = self._values.get(index, 0.0) + value
        self._forget()

    def clear(self) -> None:
        """Know nothing."""
        self._values.clear()

    def empty(self, now: float) -> bool:
        """Whether nothing was recorded for longer than the window."""
        return not self._values or self._index(now) - self._last > self._count

    def average(self, now: float) -> float:
        """The average over the window that ends now; 0 where nothing is known."""
        silent = max(0, self._index(now) - self._last)
        if not self._values or silent >= self._count:
            return 0.0
        return self._exponential(silent) if self._weighted else self._linear(silent)

    def _linear(self, silent: int) -> float:
        seen = self._count - silent
        total = sum(value for index, value in self._values.items() if index > self._last - seen)
        average = total / min(self._last - self._first + 1, seen)
        return math.floor(average * _DIGITS) / _DIGITS

    def _exponential(self, silent: int) -> float:
        coefficient: float = max(1.0 - (1.0 - _WEIGHT) ** (1.0 / self._count), _LEAST_COEFFICIENT)
        keep = 1.0 - coefficient
        ages = range(self._count - silent)
        return coefficient * sum(
            self._values.get(self._last - age, 0.0) * float(math.pow(keep, silent + age)) for age in ages
        )

    def _index(self, now: float) -> int:
        return math.floor(now / self._granularity + 1e-9)

    def _forget(self) -> None:
        for index in [index for index in self._values if index <= self._last - self._count]:
            del self._values[index]
