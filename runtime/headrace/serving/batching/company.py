"""Whether it is worth while to hold a batch open for more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.serving.settings import BatchLimits

_SHORTEST_MEMORY = 1.0
_DELAYS_REMEMBERED = 20


class Company:
    """Expects as many requests at a time as there have been lately, and never waits for one more than that.

    A caller that asks again only when it has its answer is alone however long one waits for others; eight such
    callers are all there once eight are. So the largest number in hand of the last seconds is what is waited for,
    at most ``max_delay`` long.

    Args:
        limits: ``max_delay``.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._delay = limits.max_delay
        self._memory = max(_SHORTEST_MEMORY, _DELAYS_REMEMBERED * limits.max_delay)
        self._until = 0.0
        self._now = 0
        self._before = 0

    def seen(self, in_hand: int, now: float) -> None:
        """A request has come, and with it so many wait or run."""
        if not self._delay:
            return
        if now >= self._until:
            # What was seen in the last stretch counts for one more; after a longer silence nothing is known.
            self._before = self._now if now < self._until + self._memory else 0
            self._now = 0
            self._until = now + self._memory
        self._now = max(self._now, in_hand)

    def wait(self, waiting: int, entered: float, now: float) -> float:
        """Seconds that a batch is still held open, whose first member joined at ``entered``; 0 to start it.

        Args:
            waiting: How many wait, while nothing runs.
            entered: When the first of them came.
            now: The time on the same clock.
        """
        if not self._delay or waiting >= max(self._now, self._before):
            return 0.0
        return max(0.0, entered + self._delay - now)
