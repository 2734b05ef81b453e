"""A member that loses its place in the group is told so, whichever way its client learns of it."""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from headrace.eventing.codec.kafka import read_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.kafka import member as module
from headrace.eventing.kafka.driver import ConsumerOptions
from headrace.eventing.kafka.kafka_python import KafkaPython
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics, group_progress, remove_member
from headrace.eventing.log import Committed, Partition
from headrace.eventing.results import Responder
from headrace.eventing.sink import Reply
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from headrace.eventing.kafka.settings import KafkaSettings

PATIENCE = 30.0
BROKERS = pytest.mark.parametrize("kafka", ["embedded-kafka-python", "apache-kafka-python"], indirect=True)


class Told:
    """What a member was told, in order."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.claims: Callable[[], Any] = lambda: None
        self.claimed: Any = None

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """They came."""
        self.words += ["assigned"] if partitions else []

    def on_revoked(self, partitions: Collection[Partition]) -> None:
        """They go."""
        self.words += ["revoked"] if partitions else []

    def on_lost(self, partitions: Collection[Partition]) -> None:
        """They went."""
        self.words += ["lost"] if partitions else []
        self.claimed = self.claims()


@BROKERS
def test_a_join_that_is_refused_tells_of_the_loss(kafka: KafkaSettings) -> None:
    """The member was about to join anew when the group had forgotten it: what it had is lost, not kept.

    Others may have the partitions now: kept, they would be answered from where this member was before; and claimed in
    the next join, the leader would give them away while their owners still work on them.
    """
    topic, group = (f"{word}-{uuid.uuid4().hex[:8]}" for word in ("in", "group"))
    create_topics(kafka, [TopicSpec(topic, 2)])
    # Heartbeats would tell of the loss as well: here none comes before the join.
    options = ConsumerOptions(client_id="test", group=group, name="a", session=30.0, heartbeat=20.0)
    consumer, told = KafkaPython().consumer(kafka, options), Told()
    (assignor,) = consumer._consumer._coordinator._assignors.values()
    told.claims = lambda: assignor.metadata([topic]).owned_partitions
    try:
        consumer.subscribe(topic, told)
        _poll_until(consumer.poll, lambda: told.words == ["assigned"])
        remove_member(kafka, group, name="a", member_id=consumer.membership().member_id)
        consumer._consumer._coordinator.request_rejoin()
        _poll_until(consumer.poll, lambda: told.words.count("assigned") > 1)
    finally:
        consumer.close()
    assert told.words[:3] == ["assigned", "lost", "assigned"]
    assert told.claimed == []


@BROKERS
def test_a_member_whose_client_does_not_notice_joins_anew(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commits are refused, and no heartbeat tells why: it takes its place for lost, and answers each event once."""
    monkeypatch.setattr(module, "HEARTBEAT", 100.0)
    monkeypatch.setattr(module, "SESSION", 300.0)
    monkeypatch.setattr(module, "UNNOTICED", 0.5)
    topics = [f"{word}-{uuid.uuid4().hex[:8]}" for word in ("in", "out", "dead", "group")]
    create_topics(kafka, [TopicSpec(name) for name in topics[:3]])
    with Publisher(kafka) as publisher:
        publisher.publish(topics[0], [_event(number) for number in range(20)])

    async def run() -> None:
        member = KafkaMember(kafka, topic=topics[0], group=topics[3], name="a", drain=2.0)
        sink = MemorySink(lambda _: Reply(200, {"content-type": "text/plain"}, b"ok"))
        sink.hold.clear()
        settings = DispatchSettings(Responder("ns", "app", "app", "1"), dead_letters=topics[2], results=topics[1])
        stop = asyncio.Event()
        running = asyncio.ensure_future(Dispatcher(member, sink, settings).run(stop))
        await _until(lambda: sink.in_flight > 0)
        loop = asyncio.get_running_loop()
        expel = partial(remove_member, kafka, topics[3], name="a", member_id=member._member_id())
        await loop.run_in_executor(None, expel)
        sink.hold.set()
        done = partial(group_progress, kafka, topics[3], [Partition(topics[0], 0)])
        while (await loop.run_in_executor(None, done)).get(Partition(topics[0], 0)) != Committed(20):  # noqa: ASYNC110  # a state
            await asyncio.sleep(0.1)
        stop.set()
        await running

    asyncio.run(asyncio.wait_for(run(), PATIENCE * 2))
    answers = [read_record(r, namespace="", name="").get("causationid") for r in read_topic(kafka, topics[1]) if r]
    assert sorted(answers, key=int) == list(map(str, range(20)))


def _event(number: int) -> CloudEvent:
    return new_event({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}, b"x")


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # what is waited for is a state, and no event tells of it
        await asyncio.sleep(0.02)


def _poll_until(poll: Callable[[float, int], object], true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < deadline:
        poll(0.2, 10)
