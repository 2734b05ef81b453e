"""How fast events go to the sink: a token bucket (``spec.trigger.rateLimit``)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.eventing.clock import Clock


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The most that reaches the sink."""

    rate: float
    """Deliveries a second, of all members of the group together; attempts count singly."""
    burst: int = 1
    """Deliveries that may begin at once after a quiet time."""
    partitions: int = 1
    """Partitions of the topic: a member's share of the rate is the share of the partitions that it owns."""


class Pace:
    """Lets deliveries through at the limit's rate; owned by one event loop.

    Args:
        limit: The limit; None for none.
        clock: Time.
    """

    def __init__(self, limit: RateLimit | None, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._share = 1.0
        self._tokens = float(limit.burst) if limit else 0.0
        self._counted = clock.monotonic()
        self._line = asyncio.Lock()

    def own(self, partitions: int) -> None:
        """This member owns so many partitions now."""
        if self._limit:
            self._refill()
            self._share = min(1.0, partitions / self._limit.partitions)

    async def step(self) -> None:
        """Wait for the next delivery's turn, in the order of asking."""
        if not self._limit:
            return
        async with self._line:
            self._refill()
            while self._tokens < 1.0:
                # With no partition there is nothing to deliver but what is in hand: at the whole rate, it ends sooner.
                await self._clock.sleep((1.0 - self._tokens) / (self._limit.rate * (self._share or 1.0)))
                self._refill()
            self._tokens -= 1.0

    def _refill(self) -> None:
        assert self._limit is not None
        now = self._clock.monotonic()
        gained = (now - self._counted) * self._limit.rate * (self._share or 1.0)
        self._counted = now
        # A burst of one must stay one also for a small share; rounding must not make a full token an endless wait.
        self._tokens = min(self._tokens + gained + 1e-9, max(1.0, self._limit.burst * (self._share or 1.0)))
