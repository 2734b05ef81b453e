"""How events get to the sink: one by one, in the order in which they may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from headrace.errors import DeadlineExceededError

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from headrace.eventing.capacity import Capacity, Slot
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.sink import Reply, Sink


class Carrier(Protocol):
    """Takes an event to the sink and brings the answer to it alone."""

    under_way: set[asyncio.Task[Any] | None]
    """Tasks whose event the sink has in hand; the others in :meth:`carry` wait, and may be cancelled unharmed."""

    async def carry(self, event: CloudEvent, context: Context) -> Reply:
        """Deliver as soon as the capacity allows; raises what :meth:`headrace.eventing.sink.Sink.deliver` raises."""


class SingleCarrier:
    """One request an event.

    Args:
        sink: The receiver.
        capacity: Bounds the events under way.
    """

    def __init__(self, sink: Sink, capacity: Capacity) -> None:
        self._sink = sink
        self._capacity = capacity
        self.under_way: set[asyncio.Task[Any] | None] = set()

    async def carry(self, event: CloudEvent, context: Context) -> Reply:
        """Wait for a slot, deliver, answer."""
        slot = await self._capacity.enter()
        task = asyncio.current_task()
        self.under_way.add(task)
        try:
            return await deliver(self._sink, slot, event, context)
        finally:
            self.under_way.discard(task)
            slot.leave()


async def deliver(sink: Sink, slot: Slot, event: CloudEvent, context: Context) -> Reply:
    """Deliver one event, and tell the capacity how it went."""
    try:
        reply = await sink.deliver(event, context)
    except DeadlineExceededError:
        slot.timed_out()
        raise
    slot.answered(reply)
    return reply
