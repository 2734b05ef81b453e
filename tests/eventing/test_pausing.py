"""Paused apps get nothing, lose nothing, and finish what they have."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.eventing.test_dispatch import ECHO, World, all_done, headers, published, wait_for

from headrace.eventing.dispatch import Dispatcher
from headrace.eventing.log import Committed, Partition
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.testing.sink import MemorySink


def test_a_pause_finishes_what_is_under_way_and_begins_nothing() -> None:
    """Events in hand are answered and committed; those in memory and in the log wait, until the app is resumed."""

    async def run() -> None:
        world = World(ECHO, concurrency=2)
        broker, sink, stop = MemoryBroker(2), MemorySink(ECHO), asyncio.Event()
        for record in published(*range(10)):
            broker.append(record)
        paused = False
        dispatcher = Dispatcher(MemoryLog(broker, "in"), sink, world.settings, world.clock, paused=lambda: paused)
        running = asyncio.ensure_future(dispatcher.run(stop))
        sink.hold.clear()
        await wait_for(lambda: sink.in_flight == 2)
        paused = True
        broker.append(*published(10))
        await wait_for(lambda: dispatcher.metrics.value("headrace_dispatcher_paused") == 1)
        sink.hold.set()
        await wait_for(lambda: len(broker.records("out")) == len(sink.got))
        given = len(sink.got)
        assert given <= 10, "events that had passed the valve before may still go; the log gives no more"
        broker.append(*published(11))
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(sink.got) == given
        paused = False
        await wait_for(lambda: all_done(broker))
        stop.set()
        await running
        assert Counter(headers(r)["ce_causationid"] for r in broker.records("out")) == Counter(map(str, range(12)))

    asyncio.run(run())


def test_a_dispatcher_that_starts_paused_delivers_nothing_and_stops_at_once() -> None:
    """The pause outlives it; what it leaves is what it found."""

    async def run() -> None:
        world = World(ECHO)
        broker, sink, stop = MemoryBroker(), MemorySink(ECHO), asyncio.Event()
        for record in published(*range(10)):
            broker.append(record)
        log = MemoryLog(broker, "in")
        running = asyncio.ensure_future(
            Dispatcher(log, sink, world.settings, world.clock, paused=lambda: True).run(stop)
        )
        for _ in range(200):
            await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(running, 60)
        assert not sink.got
        assert not sink.knocks, "nothing is woken"
        assert broker.committed.get(Partition("in", 0), Committed(0)).offset == 0

    asyncio.run(run())
