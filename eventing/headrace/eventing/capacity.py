"""How much the receiver is given at once: a bound that falls when it says "too much" and rises while it does not.

Additive increase, multiplicative decrease, from the top. What says "too much" is the receiver itself: 429, 503, or no
answer in time. Waiting times say nothing here: they grow with every request that a model merges into its batch, and
with every request that an autoscaler has to see before it brings another replica. A bound that fell with them would
keep the GPU half empty and the replicas few (docs/decisions/0015-capacity-and-batches.md).

Beside it stands what is known of the replicas (``headrace.eventing.replicas``): the lower of both holds.

The bound counts events, not requests: a request with a batch of 32 is the work of 32.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.eventing.retry import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.clock import Clock
    from headrace.eventing.replicas import Replicas
    from headrace.eventing.sink import Reply

DECREASE = 0.5
"""What is left of the bound when the receiver has too much."""
_ROUNDING = 1e-9
OVERLOADED = frozenset({429, 503})
OK_BELOW = 300


@dataclass(eq=False, slots=True)
class Slot:
    """The right to one request with some events; given back by :meth:`leave`."""

    capacity: Capacity
    cuts: int
    """How often the bound had fallen when the request began."""
    events: int = 1
    """How many of them have not left yet."""

    def answered(self, reply: Reply, events: int = 1) -> None:
        """The receiver has answered a request with so many events: status, ``Retry-After`` and who it was count."""
        self.capacity.heard(reply)
        if reply.status in OVERLOADED:
            self.capacity.overloaded(self.cuts, retry_after(reply))
        elif reply.status < OK_BELOW:
            self.capacity.succeeded(events)

    def timed_out(self) -> None:
        """The receiver has not answered in time."""
        self.capacity.overloaded(self.cuts, None)

    def leave(self, events: int | None = None) -> None:
        """So many events are done; all where no number is given."""
        left = self.events if events is None else events
        self.events -= left
        if left:
            self.capacity.release(left)


class Capacity:
    """Events that may be under way at once; owned by one event loop.

    Args:
        most: The bound is never higher.
        longest: Seconds that a ``Retry-After`` may hold everything back at most.
        clock: Time.
        begin: The bound at the start; ``most`` where None.
        step: What a round of answers brings while the receiver has never objected; one event after that.
        replicas: Those that are ready, where their number shall count.
    """

    def __init__(
        self,
        most: int,
        *,
        longest: float,
        clock: Clock,
        begin: int | None = None,
        step: float = 1.0,
        replicas: Replicas | None = None,
    ) -> None:
        self._most = float(most)
        self._replicas = replicas
        self._step = step
        self.longest = longest
        """Seconds of a ``Retry-After`` that are waited at most."""
        self._clock = clock
        self._cuts = 0
        self._held_until = 0.0
        self._waiting: deque[tuple[asyncio.Future[int], Callable[[], int]]] = deque()
        self.bound = self._most if begin is None else min(self._most, float(begin))
        """Events under way at once by what the receiver has said; its whole part counts."""
        self.in_flight = 0

    async def enter(self, wanted: Callable[[], int] = lambda: 1) -> Slot:
        """Room for one request, in the order of asking, and not before the receiver wants to be asked again.

        Args:
            wanted: How many events would go now; asked again whenever there is room. The slot is for as many, or for
                as many as the bound allows where those are fewer.
        """
        events = await self._turn(wanted)
        try:
            await self.opened()
        except BaseException:
            self.release(events)
            raise
        return Slot(self, self._cuts, events)

    async def opened(self) -> None:
        """Wait for as long as the receiver has asked to be left alone."""
        while (left := self._held_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

    @property
    def allowed(self) -> int:
        """Events that may be under way at once now: the bound, or what the ready replicas take where that is less."""
        bound = int(self.bound + _ROUNDING)
        known = self._replicas.most if self._replicas else None
        return bound if known is None else min(bound, known)

    def heard(self, reply: Reply) -> None:
        """An answer has come, and may say which replica gave it."""
        if self._replicas:
            self._replicas.heard(reply.headers)

    def succeeded(self, events: int = 1) -> None:
        """Events were answered: where there was no room for others, more may help; one step a round of all of them."""
        if self._waiting or self.in_flight >= self.allowed:
            step = 1.0 if self._cuts else self._step
            self.bound = min(self._most, self.bound + step * events / self.allowed)
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

    def release(self, events: int = 1) -> None:
        """So many events are no longer under way."""
        self.in_flight -= events
        self._admit()

    def _room(self, wanted: Callable[[], int]) -> int:
        """How many events may go now; 0 where fewer would than are wanted and the bound allows."""
        events = min(max(1, wanted()), self.allowed)
        return events if self.in_flight + events <= self.allowed else 0

    async def _turn(self, wanted: Callable[[], int]) -> int:
        if not self._waiting and (events := self._room(wanted)):
            self.in_flight += events
            return events
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, wanted))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(turn.result())  # it was given at the moment of the cancellation
            raise

    def _admit(self) -> None:
        while self._waiting:
            turn, wanted = self._waiting[0]
            events = 0 if turn.done() else self._room(wanted)
            if not events and not turn.done():
                return
            self._waiting.popleft()
            if events:
                self.in_flight += events
                turn.set_result(events)
