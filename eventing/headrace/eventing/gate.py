"""The gate before a sink that may be scaled to zero: events wait here, not in failed attempts.

A cold start takes longer than any request timeout, and a request that fails for it would burn the event's attempts
(Knative's retry storm, serving issue 13284). So the first event knocks, all others wait behind it, and the wait costs
neither an attempt nor the request's time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.errors import DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.context import Context

    from headrace.eventing.clock import Clock

SHUTS_THE_GATE = frozenset({502, 503})
"""Statuses that say "nobody is there", of an ingress or of a server that loads: knock before the next delivery."""
PAUSE = 0.25
"""Seconds between two knocks that were answered at once with "not ready"."""


class Gate:
    """Open while the sink is known to answer.

    Args:
        knock: Asks the sink whether it is ready, and so wakes it.
        cold_start: Seconds to keep knocking before a waiting event is told that nothing opens.
        idle: Seconds without a delivery after which the sink may have been scaled to zero again.
        clock: Time.
    """

    def __init__(
        self, knock: Callable[[Context], Awaitable[bool]], *, cold_start: float, idle: float, clock: Clock
    ) -> None:
        self._knock = knock
        self._cold_start = cold_start
        self._idle = idle
        self._clock = clock
        self._answered: float | None = None
        self._opening: asyncio.Task[None] | None = None

    def answered(self) -> None:
        """The sink has answered a delivery just now."""
        self._answered = self._clock.monotonic()

    def shut(self) -> None:
        """The sink did not answer: whoever comes next knocks first."""
        self._answered = None

    async def passed(self, context: Context) -> float:
        """Wait until the sink is ready; the seconds waited.

        Args:
            context: Trace context of the event that waits: the cold start it causes becomes part of its trace.

        Raises:
            DeadlineExceededError: it did not open within the cold-start deadline.
        """
        if self._answered is not None and self._clock.monotonic() - self._answered < self._idle:
            return 0.0
        began = self._clock.monotonic()
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._open(context))
        # Shielded: an event that gives up must not close the door to those behind it.
        await asyncio.shield(self._opening)
        return self._clock.monotonic() - began

    async def _open(self, context: Context) -> None:
        began = self._clock.monotonic()
        while not await self._knock(context):
            if self._clock.monotonic() - began >= self._cold_start:
                raise DeadlineExceededError(
                    f"The sink was not ready within its cold-start deadline of {self._cold_start:g} s",
                    hint="look at the log of the model server, or raise spec.trigger.coldStart",
                )
            await self._clock.sleep(PAUSE)
        self.answered()
