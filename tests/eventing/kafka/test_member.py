"""The group member on Kafka: one suite over both brokers, the embedded one and Apache Kafka, and both drivers."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ConfigurationError, PayloadTooLargeError, TakenOverError
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.kafka.member import SESSION, KafkaMember
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics, topic_names
from headrace.eventing.log import Committed, OutgoingRecord, Partition
from headrace.eventing.results import Responder
from headrace.eventing.sink import Reply
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Record


class Topics:
    """A set of topics with names of their own."""

    def __init__(self, kafka: KafkaSettings, partitions: int = 3) -> None:
        unique = uuid.uuid4().hex[:8]
        self.kafka = kafka
        self.source, self.results, self.dead, self.group = (f"{n}-{unique}" for n in ("in", "out", "dead", "group"))
        create_topics(kafka, [TopicSpec(self.source, partitions), TopicSpec(self.results, 2), TopicSpec(self.dead, 1)])

    def publish(self, *numbers: int) -> None:
        """Publish events with these numbers as id, key and data."""
        with Publisher(self.kafka) as publisher:
            publisher.publish(self.source, [event(n) for n in numbers])

    def member(self, name: str = "a") -> KafkaMember:
        """A group member."""
        return KafkaMember(self.kafka, topic=self.source, group=self.group, name=name, drain=2.0)

    def answered(self) -> Counter[str]:
        """How often each event has a committed result."""
        found = (read_record(r, namespace="", name="") for r in read_topic(self.kafka, self.results) if r)
        return Counter(result.get("causationid") for result in found)

    def settings(self) -> DispatchSettings:
        """Of a dispatcher over these topics."""
        identity = Responder("ns", "app", "app", "1")
        return DispatchSettings(identity, dead_letters=self.dead, results=self.results, drain=2.0)


def event(number: int) -> CloudEvent:
    """An event with this number."""
    base = {"specversion": "1.0", "source": "/s", "type": "t"}
    return new_event({**base, "id": str(number), "partitionkey": str(number)}, str(number).encode())


def echo(e: CloudEvent) -> Reply:
    """An answer."""
    return Reply(200, {"content-type": "text/plain"}, e.data or b"")


class Watcher:
    """Remembers what a member owns."""

    def __init__(self) -> None:
        self.owned: dict[Partition, Committed | None] = {}

    def assigned(self, committed: Mapping[Partition, Committed | None]) -> None:
        """Own them."""
        self.owned.update(committed)

    async def revoked(self, partitions: AbstractSet[Partition]) -> None:
        """Own them no more."""
        self.lost(partitions)

    def lost(self, partitions: AbstractSet[Partition]) -> None:
        """Own them no more."""
        for partition in partitions:
            self.owned.pop(partition, None)


async def poll_until(member: KafkaMember, enough: Callable[[list[Record]], bool]) -> list[Record]:
    """The records polled until it is enough; twenty seconds at most."""
    found: list[Record] = []

    async def polling() -> None:
        while not enough(found):
            found.extend(await member.poll(100))

    await asyncio.wait_for(polling(), 20)
    return found


def test_records_and_progress_are_written_together(kafka: KafkaSettings) -> None:
    """What one life commits, records, offset and metadata, the next life and every reader find."""
    topics = Topics(kafka, partitions=1)
    topics.publish(*range(5))

    async def first() -> None:
        member = topics.member()
        await member.start(Watcher())
        await poll_until(member, lambda found: len(found) == 5)
        answer = OutgoingRecord(topics.results, b"k", b"v", (("h", b"1"),))
        await member.commit([answer], {Partition(topics.source, 0): Committed(3, "the rest")})
        await member.close()

    async def second() -> None:
        member, watcher = topics.member(), Watcher()
        await member.start(watcher)
        found = await poll_until(member, lambda found: len(found) == 2)
        assert [record.offset for record in found] == [3, 4]
        assert watcher.owned == {Partition(topics.source, 0): Committed(3, "the rest")}
        await member.close()

    asyncio.run(first())
    results = [r for r in read_topic(kafka, topics.results) if r]
    assert [(r.key, r.value, r.headers) for r in results] == [(b"k", b"v", (("h", b"1"),))]
    asyncio.run(second())


def test_a_record_over_the_limit_writes_nothing(kafka: KafkaSettings) -> None:
    """One record that its topic refuses takes the whole transaction back, and the next one goes through."""
    topics = Topics(kafka, partitions=1)
    topics.publish(1)

    async def run() -> None:
        member = topics.member()
        await member.start(Watcher())
        await poll_until(member, lambda found: len(found) == 1)
        done = {Partition(topics.source, 0): Committed(1)}
        small, large = (OutgoingRecord(topics.results, b"k", b"x" * size) for size in (10, 17 * 1024 * 1024))
        with pytest.raises(PayloadTooLargeError):
            await member.commit([small, large], done)
        await member.commit([small], done)
        await member.close()

    asyncio.run(run())
    assert len([r for r in read_topic(kafka, topics.results) if r]) == 1


def test_a_paused_partition_delivers_nothing(kafka: KafkaSettings) -> None:
    """Pausing holds a partition's records back; resuming gives them all."""
    topics = Topics(kafka, partitions=1)

    async def run() -> None:
        member, watcher = topics.member(), Watcher()
        await member.start(watcher)
        await poll_until(member, lambda _: bool(watcher.owned))
        member.pause({Partition(topics.source, 0)})
        topics.publish(1, 2)
        assert await member.poll(100) == []
        assert await member.poll(100) == []
        member.pause(set())
        assert len(await poll_until(member, lambda found: len(found) == 2)) == 2
        await member.close()

    asyncio.run(run())


def test_partitions_move_to_a_second_member_and_back(some_kafka: KafkaSettings) -> None:
    """Two members share the partitions; when one leaves, the other has them all; no event is lost or done twice."""
    topics = Topics(some_kafka, partitions=4)

    async def run() -> None:
        stops = [asyncio.Event(), asyncio.Event()]
        sinks = [MemorySink(echo), MemorySink(echo)]
        dispatchers = [
            Dispatcher(topics.member(name), sink, topics.settings()) for name, sink in zip("ab", sinks, strict=True)
        ]
        publish = asyncio.get_running_loop().run_in_executor
        running = [asyncio.ensure_future(dispatchers[0].run(stops[0]))]
        await publish(None, topics.publish, *range(100))
        await until(lambda: len(sinks[0].got) >= 100)
        running.append(asyncio.ensure_future(dispatchers[1].run(stops[1])))
        number = 100
        while not sinks[1].got:
            await publish(None, topics.publish, *range(number, number + 20))
            number += 20
        stops[0].set()
        await running[0]
        await publish(None, topics.publish, *range(number, number + 20))
        number += 20
        await until(lambda: len({e.id for sink in sinks for e in sink.got}) == number)
        stops[1].set()
        await running[1]
        assert topics.answered() == Counter(map(str, range(number)))

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    """Until it is true; thirty seconds at most."""

    async def waiting() -> None:
        while not true():  # noqa: ASYNC110  # a state, and no event tells of it
            await asyncio.sleep(0.01)  # not 0: a loop that spins leaves the clients' threads no time

    await asyncio.wait_for(waiting(), 30)


def test_a_new_life_takes_over_at_once_and_fences_the_old(kafka: KafkaSettings) -> None:
    """A member that comes back under its name has its partitions without waiting; the old life can do nothing more."""
    topics = Topics(kafka, partitions=1)
    topics.publish(1)

    async def run() -> None:
        zombie, heir = topics.member("same"), topics.member("same")
        await zombie.start(Watcher())
        await poll_until(zombie, lambda found: len(found) == 1)
        watcher = Watcher()
        await heir.start(watcher)
        began = asyncio.get_running_loop().time()
        await poll_until(heir, lambda found: len(found) == 1)
        assert asyncio.get_running_loop().time() - began < SESSION, "no session had to expire"
        done = {Partition(topics.source, 0): Committed(1)}
        await heir.commit([OutgoingRecord(topics.results, None, b"new")], done)
        with pytest.raises(TakenOverError, match="POD_NAME"):
            await zombie.commit([OutgoingRecord(topics.results, None, b"old")], done)
        await zombie.close()
        topics.publish(2)
        await poll_until(heir, lambda found: len(found) == 1)
        await heir.close()

    asyncio.run(run())
    assert [r.value for r in read_topic(kafka, topics.results) if r] == [b"new"]


def test_a_member_without_a_name_works_too(kafka: KafkaSettings) -> None:
    """Two nameless members share the work and fence nobody."""
    topics = Topics(kafka, partitions=2)
    topics.publish(*range(10))

    async def run() -> None:
        members = [KafkaMember(kafka, topic=topics.source, group=topics.group, drain=2.0) for _ in range(2)]
        watchers = [Watcher(), Watcher()]
        for member, watcher in zip(members, watchers, strict=True):
            await member.start(watcher)

        async def shared() -> None:
            while not all(len(watcher.owned) == 1 for watcher in watchers):
                await asyncio.gather(*(member.poll(10) for member in members))

        await asyncio.wait_for(shared(), 40)
        for member, watcher in zip(members, watchers, strict=True):
            await member.commit(
                [OutgoingRecord(topics.results, None, b"x")], dict.fromkeys(watcher.owned, Committed(1))
            )
            await member.close()

    asyncio.run(run())
    assert len([r for r in read_topic(kafka, topics.results) if r]) == 2


def test_an_unknown_topic_is_an_error(kafka: KafkaSettings) -> None:
    """Reading a topic that is not there names it, and does not make it."""
    with pytest.raises(ConfigurationError, match="nowhere"):
        list(read_topic(kafka, "nowhere"))
    assert "nowhere" not in topic_names(kafka)


def test_an_event_without_key_and_data_can_be_published(kafka: KafkaSettings) -> None:
    """kafka-python refuses a record with neither key nor value; such an event is sent with an empty key."""
    topics = Topics(kafka)
    bare = new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"})
    with Publisher(kafka) as publisher:
        publisher.publish(topics.source, [bare])
    found = [r for r in read_topic(kafka, topics.source) if r]
    assert read_record(found[0], namespace="", name="").data is None
