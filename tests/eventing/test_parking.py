"""An event in back-off keeps its place: its key waits behind it, all others flow on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.eventing.test_dispatch import ECHO, World, all_done, event, headers, wait_for

from headrace.eventing.batches import BatchLimits
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.log import Partition
from headrace.eventing.memory import MemoryBroker
from headrace.eventing.sink import Reply
from headrace.testing.clock import InstantClock

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent


class ParkingClock(InstantClock):
    """A clock on which a back-off lasts until the test lets it end; short sleeps pass."""

    def __init__(self) -> None:
        super().__init__()
        self.parked = 0
        self.go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleep, or be parked."""
        if seconds >= 20:
            self.parked += 1
            await self.go.wait()
        await super().sleep(seconds)


@pytest.mark.parametrize("batch", [None, BatchLimits(size=4, delay=0.01)], ids=["single", "batches"])
def test_a_key_in_back_off_waits_and_the_others_flow(batch: BatchLimits | None) -> None:
    """While event 0 of key 0 waits for its next attempt, all of keys 1 to 3 are answered; then those of key 0."""
    failing = True

    def answer(e: CloudEvent) -> Reply:
        if e.id == "0" and failing:
            return Reply(500, {"retry-after": "30"})
        return ECHO(e)  # type: ignore[return-value]  # ECHO never answers with an error

    async def run() -> None:
        nonlocal failing
        world = World(answer, ordering="key", batch=batch)
        world.clock = clock = ParkingClock()
        broker = MemoryBroker()
        for number in range(40):
            broker.append(write_record(event(number, partitionkey=str(number % 4)), "in", trace={}))
        stop, running = world.live(broker)
        await wait_for(lambda: len(broker.records("out")) == 30)
        await wait_for(lambda: clock.parked == 1)
        assert {r.key for r in broker.records("out")} == {b"1", b"2", b"3"}
        assert [e.id for e in world.sink.got if e.get("partitionkey") == "0"] == ["0"], "nothing overtakes it"
        assert broker.committed[Partition("in", 0)].offset == 0
        assert '"a":[[0,1,' in broker.committed[Partition("in", 0)].metadata, "its attempt is kept"
        failing = False
        clock.go.set()
        await wait_for(lambda: all_done(broker))
        stop.set()
        await running
        for key in range(4):
            ids = [int(headers(r)["ce_causationid"]) for r in broker.records("out") if r.key == str(key).encode()]
            assert ids == list(range(key, 40, 4))

    asyncio.run(run())
