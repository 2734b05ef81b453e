"""How long the receiver takes for each replayed event."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace.eventing.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context

    from headrace.eventing.clock import Clock
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.sink import Reply, Sink


class TimedSink:
    """A sink that remembers how long each event's last delivery took; see :class:`headrace.eventing.sink.Sink`.

    Args:
        sink: The receiver.
        clock: Time.
    """

    def __init__(self, sink: Sink, clock: Clock | None = None) -> None:
        self._sink = sink
        self._clock = clock or SystemClock()
        self._elapsed: dict[str, float] = {}

    @property
    def url(self) -> str:
        """Where the events go."""
        return self._sink.url

    async def deliver(self, event: CloudEvent, context: Context) -> Reply:
        """Deliver, and measure."""
        with self._measured([event]):
            return await self._sink.deliver(event, context)

    async def deliver_batch(self, events: Sequence[CloudEvent], contexts: Sequence[Context]) -> Reply:
        """Deliver, and measure: each event takes as long as the batch."""
        with self._measured(events):
            return await self._sink.deliver_batch(events, contexts)

    async def ready(self, context: Context) -> bool:
        """Whether the receiver can answer."""
        return await self._sink.ready(context)

    async def close(self) -> None:
        """Close the receiver."""
        await self._sink.close()

    def take(self, identifier: str) -> float | None:
        """Milliseconds of the event with this id, once; None where it was not delivered."""
        return self._elapsed.pop(identifier, None)

    @contextmanager
    def _measured(self, events: Sequence[CloudEvent]) -> Iterator[None]:
        began = self._clock.monotonic()
        try:
            yield
        finally:
            elapsed = (self._clock.monotonic() - began) * 1000
            self._elapsed |= {event.id: elapsed for event in events}
