"""Everything at once, by chance: whatever comes together, a dispatcher neither stands still nor answers twice.

Each seed is a world of its own: a receiver that fails in every way, a log whose commits fail or seem to, partitions
that go and come back, pauses, rates, small memory. Time costs no time there, so a dispatcher that waits for what never
comes is found within seconds. HEADRACE_WORLDS says how many worlds are tried.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.eventing.test_dispatch import IDENTITY, all_done, event, headers, wait_for

from headrace.errors import DeadlineExceededError, UnavailableError
from headrace.eventing.batches import BatchLimits
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.rate import RateLimit
from headrace.eventing.replicas import HEADER
from headrace.eventing.retry import RetryPolicy
from headrace.eventing.sink import DisconnectedError, Reply
from headrace.testing.clock import InstantClock
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.log import Committed, OutgoingRecord, Partition, RebalanceListener, Record

EVENTS = 150
FAILURES: list[Reply | Exception] = [
    Reply(500),
    Reply(429, {"retry-after": "3"}),
    UnavailableError("away"),
    DeadlineExceededError("late"),
    DisconnectedError("gone"),
]
WORLDS = int(os.environ.get("HEADRACE_WORLDS", "16"))


class RestlessSink(MemorySink):
    """Fails in every way that there is, with a chance of its own; may take its time."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(self._reply)
        self._chance = chance
        self._evil = chance.choice([0.0, 0.1, 0.4])
        self._slow = chance.choice([0, 5, 60])
        self._names = chance.choice([0, 1, 3])
        self.refuse = self._whole

    async def deliver(self, event: CloudEvent, context: Context) -> Reply:
        """As :class:`MemorySink`, later."""
        await self._while()
        return await super().deliver(event, context)

    async def deliver_batch(self, events: Sequence[CloudEvent], contexts: Sequence[Context]) -> Reply:
        """As :class:`MemorySink`, later."""
        await self._while()
        return await super().deliver_batch(events, contexts)

    async def ready(self, context: Context) -> bool:
        """Not always."""
        await super().ready(context)
        return self._chance.random() >= self._evil

    async def _while(self) -> None:
        for _ in range(self._chance.randint(0, self._slow)):
            await asyncio.sleep(0)

    def _reply(self, event: CloudEvent) -> Reply | Exception:
        if self._chance.random() < self._evil:
            return self._chance.choice([*FAILURES, Reply(503), Reply(400)])
        names = {HEADER: str(self._chance.randrange(self._names))} if self._names else {}
        return Reply(200, {"content-type": "text/plain", **names}, event.data or b"")

    def _whole(self, events: Sequence[CloudEvent]) -> Reply | Exception | None:
        if self._chance.random() >= self._evil:
            return None
        return self._chance.choice([*FAILURES, Reply(200, {}, b"nonsense"), Reply(413)])


class RestlessLog(MemoryLog):
    """Its commits fail, before or after they are written; its partitions go and come back."""

    def __init__(self, broker: MemoryBroker, topic: str, chance: random.Random) -> None:
        super().__init__(broker, topic)
        self._chance = chance
        self._evil = chance.choice([0.0, 0.05, 0.3])
        self._moves = chance.choice([0.0, 0.0, 0.1])
        self._away: set[Partition] = set()
        self._lives: Counter[Partition] = Counter()

    async def start(self, listener: RebalanceListener) -> None:
        """As :class:`MemoryLog`."""
        self._listener = listener
        await super().start(listener)

    async def poll(self, most: int) -> Sequence[Record]:
        """The next records; a partition may go before, or one that is away come back."""
        if self._chance.random() < self._moves:
            await self._move()
        return [record for record in await super().poll(most) if record.partition not in self._away]

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """As :class:`MemoryLog`, or not; and never for a partition that went meanwhile, though it be back."""
        lives = {partition: self._lives[partition] for partition in done}
        for _ in range(self._chance.randint(0, 3)):
            await asyncio.sleep(0)
        moved = any(self._lives[partition] != life for partition, life in lives.items())
        if moved or self._away & done.keys() or self._chance.random() < self._evil:
            raise UnavailableError("not now")
        if any(record.topic == "dead" for record in records) and self._chance.random() < self._evil:
            raise UnavailableError("no dead letters")
        await super().commit(records, done)
        if self._chance.random() < self._evil:
            raise UnavailableError("nobody heard that it is written")

    async def _move(self) -> None:
        if self._away:
            back, self._away = self._away, set()
            known = {partition: self._broker.committed.get(partition) for partition in back}
            for partition, committed in known.items():
                self._position[partition] = committed.offset if committed else 0
            self._listener.assigned(known)
            return
        gone = {partition for partition in self._position if self._chance.random() < 0.5}
        if gone:
            await self._listener.revoked(gone)
            self._away = gone
            self._lives.update(gone)


def settings(chance: random.Random) -> DispatchSettings:
    """Any that there are."""
    batch = BatchLimits(chance.choice([2, 8, 32]), chance.choice([0.0, 0.005]), chance.choice([8, 1 << 20]))
    concurrency = chance.choice([1, 3, 16, 64])
    most_open = chance.choice([4, 40, 1000])
    return DispatchSettings(
        IDENTITY,
        dead_letters="dead",
        results="out",
        ordering=chance.choice(["key", "partition", "none"]),
        concurrency=concurrency,
        begin=chance.choice([None, 2]),
        replica=chance.choice([None, 1, 8]),
        batch=chance.choice([None, batch]),
        rate=chance.choice([None, RateLimit(chance.choice([0.5, 100.0]), chance.choice([1, 5]), 4)]),
        retry=RetryPolicy(attempts=chance.choice([1, 3, 50])),
        most_open=most_open,
        drain=0.2,
    )


def records(chance: random.Random) -> list[OutgoingRecord]:
    """Events with few keys, many or none."""
    keys = chance.choice([0, 1, 7, EVENTS])
    more = ({"partitionkey": str(number % keys)} if keys else {} for number in range(EVENTS))
    return [write_record(event(number, **own), "in", trace={}) for number, own in enumerate(more)]


async def live(seed: int) -> tuple[MemoryBroker, Dispatcher]:
    """A world's life: until all is committed, or a minute of the real clock has gone."""
    chance = random.Random(seed)
    broker = MemoryBroker(chance.choice([1, 4]))
    for record in records(chance):
        broker.append(record)
    pausing = chance.choice([0.0, 0.3])
    stop = asyncio.Event()
    dispatcher = Dispatcher(
        RestlessLog(broker, "in", chance),
        RestlessSink(chance),
        settings(chance),
        InstantClock(),
        paused=lambda: chance.random() < pausing,
    )
    running = asyncio.ensure_future(dispatcher.run(stop))
    try:
        await wait_for(lambda: running.done() or all_done(broker))
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)
    return broker, dispatcher


@pytest.mark.parametrize("seed", range(WORLDS))
def test_a_dispatcher_never_stands_still(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All events are committed, each with one answer, and in the order of its key where that is asked for."""
    monkeypatch.setattr("headrace.eventing.memory.POLL", 0.001)
    broker, _ = asyncio.run(live(seed))
    answered = Counter(headers(record)["ce_causationid"] for record in broker.records("out"))
    assert answered == Counter(str(number) for number in range(EVENTS))
