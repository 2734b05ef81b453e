"""Time that takes no time."""

from __future__ import annotations

import asyncio


class InstantClock:
    """A clock that jumps: a sleep returns at once, and the time is later by as much.

    Args:
        start: Seconds since the epoch.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.now = start
        self.slept: list[float] = []
        """Every sleep so far, in seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move on by this many seconds, letting others run first."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)
