"""A receiver of events in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.sink import Reply


class MemorySink:
    """Answers each event by a function, and remembers what it got; see :class:`headrace.eventing.sink.Sink`.

    Args:
        answer: From an event to its reply, or to an error that is raised.
    """

    url = "memory:"

    def __init__(self, answer: Callable[[CloudEvent], Reply | Exception]) -> None:
        self._answer = answer
        self.got: list[CloudEvent] = []
        """Every event, in the order of arrival, attempts counted singly."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.opens_after = 0
        """Knocks that are answered with "not ready" before the first "ready"."""
        self.knocks = 0
        self.hold = asyncio.Event()
        """Cleared by a test, it holds every answer back."""
        self.hold.set()

    async def deliver(self, event: CloudEvent, context: Context) -> Reply:  # noqa: ARG002  # the seam's signature
        """Answer the event."""
        self.got.append(event)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.hold.wait()
            await asyncio.sleep(0)
            reply = self._answer(event)
        finally:
            self.in_flight -= 1
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def ready(self, context: Context) -> bool:  # noqa: ARG002  # the seam's signature
        """Ready after as many knocks as the test wants."""
        self.knocks += 1
        return self.knocks > self.opens_after

    async def close(self) -> None:
        """Nothing to let go of."""
