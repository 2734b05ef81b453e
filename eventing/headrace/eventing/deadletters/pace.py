"""How fast events are sent: a token bucket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TokenBucket:
    """Lets ``rate`` things a second through, and up to ``burst`` at once after a pause; blocks the calling thread.

    Args:
        rate: Things a second.
        burst: Most things at once; it begins full.
        monotonic: Seconds that never go back.
        sleep: Returns after that many seconds.
    """

    def __init__(
        self,
        rate: float,
        burst: int = 1,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self.burst = burst
        self._monotonic = monotonic
        self._sleep = sleep
        self._tokens = float(burst)
        self._filled = monotonic()

    def take(self, count: int) -> None:
        """Return when ``count`` things may pass; more than a burst waits as long as it would take singly."""
        now = self._monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled) * self._rate) - count
        self._filled = now
        if self._tokens < 0:
            # The debt is slept off: the next call finds what has flowed in meanwhile.
            self._sleep(-self._tokens / self._rate)
