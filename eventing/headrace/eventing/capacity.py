"""How much the receiver is given at once: a bound that falls when it says "too much" and rises while it does not.

Additive increase, multiplicative decrease, from the top. What says "too much" is the receiver itself: 429, 503, or no
answer in time. Waiting times say nothing here: they grow with every request that a model merges into its batch, and
with every request that an autoscaler has to see before it brings another replica. A bound that fell with them would
keep the GPU half empty and the replicas few (docs/decisions/0015-capacity-and-batches.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.eventing.retry import retry_after

if TYPE_CHECKING:
    from headrace.eventing.clock import Clock
    from headrace.eventing.sink import Reply

DECREASE = 0.5
"""What is left of the bound when the receiver has too much."""
_ROUNDING = 1e-9
OVERLOADED = frozenset({429, 503})
OK_BELOW = 300


@dataclass(eq=False, slots=True)
class Slot:
    """The right to one request; given back by :meth:`leave`."""

    capacity: Capacity
    cuts: int
    """How often the bound had fallen when the request began."""

    def answered(self, reply: Reply) -> None:
        """The receiver has answered: its status, and its ``Retry-After``, count."""
        if reply.status in OVERLOADED:
            self.capacity.overloaded(self.cuts, retry_after(reply))
        elif reply.status < OK_BELOW:
            self.capacity.succeeded()

    def timed_out(self) -> None:
        """The receiver has not answered in time."""
        self.capacity.overloaded(self.cuts, None)

    def leave(self) -> None:
        """The request is over."""
        self.capacity.release()


class Capacity:
    """Requests that may be under way at once; owned by one event loop.

    Args:
        most: The bound where the receiver never objects.
        longest: Seconds that a ``Retry-After`` may hold everything back at most.
        clock: Time.
    """

    def __init__(self, most: int, *, longest: float, clock: Clock) -> None:
        self._most = float(most)
        self.longest = longest
        """Seconds of a ``Retry-After`` that are waited at most."""
        self._clock = clock
        self._cuts = 0
        self._held_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.bound = self._most
        """Requests under way at once, at present; its whole part counts."""
        self.in_flight = 0

    async def enter(self) -> Slot:
        """The next slot that is free, in the order of asking, and not before the receiver wants to be asked again."""
        await self._turn()
        try:
            await self.opened()
        except BaseException:
            self.release()
            raise
        return Slot(self, self._cuts)

    async def opened(self) -> None:
        """Wait for as long as the receiver has asked to be left alone."""
        while (left := self._held_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

    def succeeded(self) -> None:
        """A request was answered: where all slots were in use, more may help; one more a round of all of them."""
        if self.in_flight >= self._slots:
            self.bound = min(self._most, self.bound + 1.0 / self._slots)
            self._admit()

    def overloaded(self, cuts: int, wait: float | None) -> None:
        """The receiver has too much: halve, once for all requests that were under way together.

        Args:
            cuts: How often the bound had fallen when the request began.
            wait: Seconds that the receiver wants to be left alone; None where it does not say.
        """
        if cuts == self._cuts:
            self._cuts += 1
            self.bound = max(1.0, self.bound * DECREASE)
        if wait:
            self._held_until = max(self._held_until, self._clock.monotonic() + min(wait, self.longest))

    def release(self) -> None:
        """A slot is free again."""
        self.in_flight -= 1
        self._admit()

    @property
    def _slots(self) -> int:
        return int(self.bound + _ROUNDING)

    async def _turn(self) -> None:
        if not self._waiting and self.in_flight < self._slots:
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given at the moment of the cancellation
            raise

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self._slots:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
