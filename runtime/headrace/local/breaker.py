"""The queue in front of one replica: that of Knative's queue-proxy, ten times as deep as the replica is wide."""

from __future__ import annotations

from headrace.errors import OverloadedError, UnavailableError
from headrace.local.turns import Turns

DEPTH = 10
"""Requests that may wait for each that may be under way."""


class Breaker:
    """Lets so many in at a time.

    Args:
        concurrency: How many; 0 is everyone at once.
        name: Whose it is.
    """

    def __init__(self, concurrency: int, name: str) -> None:
        self._concurrency = concurrency
        self._name = name
        self._inside = 0
        self._turns: Turns[None] = Turns(lambda _: self.leave())

    @property
    def waiting(self) -> int:
        """Requests that are not in yet."""
        return len(self._turns)

    @property
    def full(self) -> bool:
        """Whether the next one has to wait."""
        return bool(self._concurrency) and (self._inside >= self._concurrency or self.waiting > 0)

    def take(self) -> None:
        """In, without a question: whoever calls this knows that there is room."""
        self._inside += 1

    async def enter(self, within: float) -> None:
        """In, once there is room.

        Raises:
            OverloadedError: too many wait already.
            DeadlineExceededError: there was none within so many seconds.
            UnavailableError: the replica is gone.
        """
        if not self.full:
            self.take()
            return
        depth = DEPTH * self._concurrency
        if self.waiting >= depth:
            raise OverloadedError(f"pending request queue full: {depth} requests wait at {self._name}")
        await self._turns.wait(within, f"request timeout: {self._name} had no room in time")

    def leave(self) -> None:
        """Out; the first of those that wait goes in instead."""
        self._inside -= 1
        if self.waiting and self._inside < self._concurrency:
            self.take()
            self._turns.hand(None)

    def close(self) -> None:
        """Refuse what waits: the replica is gone."""
        self._turns.refuse(lambda: UnavailableError(f"{self._name} is gone"))
