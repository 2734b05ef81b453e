"""A dead-letter topic that refuses: its partition waits and says so, nothing is lost, all others go on."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.eventing.test_dispatch import ECHO, World, all_done, event, headers, wait_for

from headrace.errors import ConfigurationError, HeadraceError, PayloadTooLargeError, UnavailableError
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.log import Committed, OutgoingRecord, Partition
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.sink import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.eventing.event import CloudEvent

POISON = "7"


class RefusingLog(MemoryLog):
    """A log one of whose topics takes nothing."""

    fault: HeadraceError | None = None
    refused = "dead"
    away = 0
    """So many commits fail altogether."""

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Refuse what stands for that topic, or commit."""
        if RefusingLog.away:
            RefusingLog.away -= 1
            raise UnavailableError("no broker")
        if self.fault and any(record.topic == self.refused for record in records):
            raise self.fault
        await super().commit(records, done)


def poisoned(e: CloudEvent) -> Reply | Exception:
    """One event is not to be read."""
    return Reply(400, {}, b"poison") if e.id == POISON else ECHO(e)


def of_partition(partition: int, *numbers: int) -> list[OutgoingRecord]:
    """Events that come to lie in this one of two partitions."""
    key = next(str(each) for each in range(1000) if zlib.crc32(str(each).encode()) % 2 == partition)
    return [write_record(event(number, partitionkey=key), "in", trace={}) for number in numbers]


@pytest.mark.parametrize(
    "fault",
    [UnavailableError("no such topic"), ConfigurationError("not allowed"), PayloadTooLargeError("over its limit")],
    ids=lambda fault: type(fault).__name__,
)
def test_the_partition_waits_and_the_others_go_on(fault: HeadraceError, caplog: pytest.LogCaptureFixture) -> None:
    """Its offset is not committed, nothing new of its partition begins, an alert is counted; later all is written."""

    async def run() -> None:
        world = World(poisoned)
        broker = MemoryBroker(2)
        for record in (*of_partition(0, 5, 6, 7, 8), *of_partition(1, 15, 16)):
            broker.append(record)
        RefusingLog.fault = fault
        stop, running = world.live(broker, RefusingLog)
        metrics = world.dispatcher.metrics
        await wait_for(lambda: metrics.value("headrace_dispatcher_stuck_partitions") == 1)
        await wait_for(lambda: len(broker.records("out")) == 5)
        for record in (*of_partition(0, 9), *of_partition(1, 17, 18)):
            broker.append(record)
        await wait_for(lambda: broker.committed[Partition("in", 1)].offset == 4)
        await wait_for(lambda: metrics.value("headrace_dispatcher_dead_letter_failures_total") > 3)
        assert broker.committed[Partition("in", 0)].offset == 2, "the offset of the dead letter"
        assert "9" not in [e.id for e in world.sink.got]
        assert not broker.records("dead")
        assert "in/0 waits for them" in caplog.text
        RefusingLog.fault = None
        await wait_for(lambda: all_done(broker))
        stop.set()
        await running
        assert [headers(r)["ce_id"] for r in broker.records("dead")] == [POISON]
        assert Counter(headers(r)["ce_causationid"] for r in broker.records("out")) == Counter(
            map(str, (5, 6, 7, 8, 9, 15, 16, 17, 18))
        )
        assert metrics.value("headrace_dispatcher_stuck_partitions") == 0
        assert Counter(e.id for e in world.sink.got)[POISON] == 1, "it is not asked again"

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())


def test_a_restart_loses_nothing_of_what_waited() -> None:
    """A dispatcher that stops while its dead letter is refused leaves it uncommitted: the next one writes it, once."""

    async def run() -> None:
        world = World(poisoned)
        broker = MemoryBroker(2)
        for record in (*of_partition(0, 5, 6, 7, 8), *of_partition(1, 15)):
            broker.append(record)
        RefusingLog.fault = ConfigurationError("not allowed")
        stop, running = world.live(broker, RefusingLog)
        await wait_for(lambda: world.dispatcher.metrics.value("headrace_dispatcher_stuck_partitions") == 1)
        await wait_for(lambda: len(broker.records("out")) == 4)
        stop.set()
        await asyncio.wait_for(running, 60)
        RefusingLog.fault = None
        await world.again(broker, RefusingLog)
        assert [e.id for e in world.sink.got] == [POISON]
        assert [headers(r)["ce_id"] for r in broker.records("dead")] == [POISON]
        assert Counter(headers(r)["ce_causationid"] for r in broker.records("out")) == Counter(
            ["5", "6", "7", "8", "15"]
        )

    asyncio.run(run())


def test_a_broker_that_is_away_is_no_refusal() -> None:
    """Where nothing can be written, no letter is to blame: no alert, and all is written when the broker is back."""

    async def run() -> None:
        world = World(poisoned)
        broker = MemoryBroker(2)
        for record in of_partition(0, 5, 6, 7, 8):
            broker.append(record)
        RefusingLog.fault, RefusingLog.away = None, 25
        await world.again(broker, RefusingLog)
        assert RefusingLog.away == 0
        assert world.dispatcher.metrics.value("headrace_dispatcher_dead_letter_failures_total") == 0
        assert [headers(r)["ce_id"] for r in broker.records("dead")] == [POISON]

    asyncio.run(run())


def test_one_letter_that_is_too_large_holds_no_other_back() -> None:
    """Of two refused letters, the one that fits is written while the other waits."""

    class SmallLog(RefusingLog):
        async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
            if any(record.topic == "dead" and len(record.value or b"") > limit for record in records):
                raise PayloadTooLargeError("too large")
            await super().commit(records, done)

    limit = 100
    large = event(1).__class__(event(1).attributes, b"x" * 500)

    async def run() -> None:
        nonlocal limit
        world = World(lambda _: Reply(400))
        broker = MemoryBroker()
        RefusingLog.fault = None
        for each in (large, event(2), large.with_attributes(id="3"), event(4)):
            broker.append(write_record(each, "in", trace={}))
        stop, running = world.live(broker, SmallLog)
        await wait_for(lambda: len(broker.records("dead")) == 2)
        assert sorted(headers(r)["ce_id"] for r in broker.records("dead")) == ["2", "4"]
        limit = 1000
        await wait_for(lambda: all_done(broker))
        stop.set()
        await running
        assert sorted(headers(r)["ce_id"] for r in broker.records("dead")) == ["1", "2", "3", "4"]

    asyncio.run(run())


def test_memory_is_bounded_while_answers_cannot_be_written() -> None:
    """Records whose answer waits for the log count as memory: beyond its bound nothing more is read."""

    async def run() -> None:
        world = World(ECHO, most_open_bytes=50_000)
        broker = MemoryBroker()
        for number in range(300):
            broker.append(write_record(event(number).__class__(event(number).attributes, b"x" * 1000), "in", trace={}))
        RefusingLog.fault, RefusingLog.refused = UnavailableError("no such topic"), "out"
        try:
            log = RefusingLog(broker, "in")
            most = log.poll

            async def few(_: int) -> Sequence[object]:
                return await most(10)

            log.poll = few  # type: ignore[method-assign,assignment]  # ten at a time
            stop, running = world.live(broker, lambda *_: log)
            await wait_for(lambda: world.clock.now > 1_700_000_100)
            assert log.position(Partition("in", 0)) <= 70
            RefusingLog.fault = None
            await wait_for(lambda: all_done(broker))
            stop.set()
            await running
            assert len(broker.records("out")) == 300
        finally:
            RefusingLog.refused = "dead"

    asyncio.run(run())
