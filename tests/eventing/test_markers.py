"""A partition whose end is no record: the committed offset steps over it, and never over what is in work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.log import OutgoingRecord, Partition
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.results import Responder
from headrace.eventing.sink import Reply
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SOURCE = Partition("in", 0)


class MarkedLog(MemoryLog):
    """A log with two markers behind its last record."""

    def reached(self) -> Mapping[Partition, int]:
        """Past the markers."""
        return {partition: position + 2 for partition, position in super().reached().items()}


def test_the_end_is_committed_when_all_is_done_and_not_before() -> None:
    """While an event is in work its offset stays; once it is done the markers behind it are committed as well."""

    async def run() -> None:
        broker, stop = MemoryBroker(), asyncio.Event()
        sink = MemorySink(lambda _: Reply(200, {}, b"x"))
        sink.hold.clear()
        broker.append(OutgoingRecord("in", None, b"{}", (("content-type", b"application/json"),)))
        settings = DispatchSettings(Responder("n", "a", "a", "1"), dead_letters="dead")
        log = MarkedLog(broker, "in")
        running = asyncio.ensure_future(Dispatcher(log, sink, settings).run(stop))
        await until(lambda: bool(log.reached()))
        assert SOURCE not in broker.committed
        sink.hold.set()
        await until(lambda: SOURCE in broker.committed and broker.committed[SOURCE].offset == 3)
        stop.set()
        await running

    asyncio.run(run())


def test_the_end_of_a_partition_without_events_is_committed() -> None:
    """A partition of markers alone, or whose records retention took, has no lag either."""

    async def run() -> None:
        broker, stop = MemoryBroker(), asyncio.Event()
        settings = DispatchSettings(Responder("n", "a", "a", "1"), dead_letters="dead")
        sink = MemorySink(lambda _: Reply(200, {}, b""))
        running = asyncio.ensure_future(Dispatcher(MarkedLog(broker, "in"), sink, settings).run(stop))
        await until(lambda: SOURCE in broker.committed)
        assert broker.committed[SOURCE].offset == 2
        stop.set()
        await running

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    """Until it is true; ten seconds at most."""

    async def waiting() -> None:
        while not true():  # noqa: ASYNC110  # a state, and no event tells of it
            await asyncio.sleep(0.005)

    await asyncio.wait_for(waiting(), 10)
