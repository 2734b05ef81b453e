"""Records and partitions as production has them, by each driver: large, compressed, mixed, refused, gaps."""

from __future__ import annotations

import asyncio
import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from headrace.errors import PayloadTooLargeError, TakenOverError
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import new_event
from headrace.eventing.kafka.driver import ProducerOptions, driver_of
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.settings import COMPRESSIONS
from headrace.eventing.kafka.topics import TopicSpec, create_topics, group_progress
from headrace.eventing.kafka.transaction import TransactionalWriter
from headrace.eventing.log import OutgoingRecord, Partition
from headrace.eventing.results import Responder
from headrace.eventing.sink import Reply
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Record

MEGABYTE = 1024 * 1024


def topic(kafka: KafkaSettings, **config: str) -> str:
    """A topic of one partition with a name of its own."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    create_topics(kafka, [TopicSpec(name, 1, config)])
    return name


def event(number: int, data: bytes) -> CloudEvent:
    """An event with this number."""
    return new_event({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}, data)


def records(kafka: KafkaSettings, name: str) -> list[Record]:
    """All that is in it."""
    return [record for record in read_topic(kafka, name) if record]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_events_of_a_megabyte_in_every_compression(some_kafka: KafkaSettings, compression: str) -> None:
    """What is published compressed is read by whoever reads: the reader is not told which codec it is."""
    name = topic(some_kafka, **{"max.message.bytes": str(2 * MEGABYTE)})
    data = [os.urandom(MEGABYTE), b"small" * 1000]
    with Publisher(replace(some_kafka, compression=compression)) as publisher:
        places = publisher.publish(name, [event(n, each) for n, each in enumerate(data)])
    assert places == [(Partition(name, 0), 0), (Partition(name, 0), 1)]
    assert [record.value for record in records(some_kafka, name)] == data


def test_a_topic_may_hold_anything(some_kafka: KafkaSettings) -> None:
    """No key, no value, no headers, headers twice and without a value, bytes that are no text: all come as they are."""
    name = topic(some_kafka)
    mixed = [
        OutgoingRecord(name, None, b"\xff\x00"),
        OutgoingRecord(name, b"k", None),
        OutgoingRecord(name, b"\xff", b"", (("h", b"1"), ("h", b"2"), ("ce_specversion", b"1.0"))),
        OutgoingRecord(name, None, b'{"specversion":', (("content-type", b"application/cloudevents+json"),)),
    ]
    producer = driver_of(some_kafka).producer(some_kafka, ProducerOptions(client_id="test"))
    for record in mixed:
        producer.send(record)
    producer.flush(60)
    producer.close(5)
    found = [(record.key, record.value, record.headers) for record in records(some_kafka, name)]
    assert found == [(record.key, record.value, record.headers) for record in mixed]


def test_one_record_over_the_limit_among_small_ones_is_named(some_kafka: KafkaSettings) -> None:
    """It is said to be too large, not that the broker is away; those before it are there, and writing goes on."""
    name = topic(some_kafka, **{"max.message.bytes": "200000"})
    sizes = [10, 10, 300_000, 10]
    with Publisher(some_kafka) as publisher:
        with pytest.raises(PayloadTooLargeError, match=r"max\.message\.bytes"):
            publisher.publish(name, [event(n, b"x" * size) for n, size in enumerate(sizes)])
        publisher.publish(name, [event(9, b"after")])
    ids = [read_record(record, namespace="", name="").id for record in records(some_kafka, name)]
    assert ids[:2] == ["0", "1"]
    assert ids[-1] == "9"
    assert "2" not in ids


def test_a_transaction_with_one_record_over_the_limit_writes_nothing(some_kafka: KafkaSettings) -> None:
    """Whether the client sends it alone or in a batch with small ones, the transaction is refused as too large."""
    name = topic(some_kafka, **{"max.message.bytes": "20000"})
    writer = TransactionalWriter(some_kafka, f"w-{name}")
    small = [OutgoingRecord(name, None, b"x" * 5000) for _ in range(6)]
    for where in (0, 3):
        batch = [*small[:where], OutgoingRecord(name, None, b"x" * 30_000), *small[where:]]
        with pytest.raises(PayloadTooLargeError):
            writer.write(batch, {})
    writer.write(small, {})
    writer.close()
    assert len(records(some_kafka, name)) == len(small)


def test_a_writer_that_was_fenced_says_so_whatever_it_does_next(some_kafka: KafkaSettings) -> None:
    """With a second writer of its name, the first is taken over, and not one whose broker is away."""
    name = topic(some_kafka)
    first, second = TransactionalWriter(some_kafka, f"w-{name}"), TransactionalWriter(some_kafka, f"w-{name}")
    first.write([OutgoingRecord(name, None, b"1")], {})
    second.open()
    many = [OutgoingRecord(name, None, b"2" * 50_000) for _ in range(40)]
    with pytest.raises(TakenOverError, match="POD_NAME"):
        first.write(many, {})
    second.write([OutgoingRecord(name, None, b"3")], {})
    first.close()
    second.close()
    assert [record.value for record in records(some_kafka, name)] == [b"1", b"3"]


def test_the_end_of_a_topic_is_before_a_transaction_that_is_open(some_kafka: KafkaSettings) -> None:
    """Reading to the present end does not wait for whoever writes just now."""
    name = topic(some_kafka)
    driver = driver_of(some_kafka)
    with Publisher(some_kafka) as publisher:
        publisher.publish(name, [event(1, b"committed")])
    options = ProducerOptions(client_id="test", transactional_id=f"w-{name}", transaction=60.0)
    producer = driver.producer(some_kafka, options)
    producer.init_transactions()
    producer.begin()
    producer.send(OutgoingRecord(name, None, b"open"))
    producer.flush(60)
    try:
        assert len(records(some_kafka, name)) == 1
        with Scanner(some_kafka) as scanner:
            assert scanner.ends(name) == {Partition(name, 0): 1}
            assert len(list(scanner.topic(name))) == 1
    finally:
        producer.abort()
        producer.close(5)


def test_the_lag_becomes_zero_behind_transaction_markers(some_kafka: KafkaSettings) -> None:
    """A partition ends with markers, which are no records: the committed offset goes past them, or KEDA sees a lag."""
    source, results, dead = (topic(some_kafka) for _ in range(3))
    writer = TransactionalWriter(some_kafka, f"w-{source}")
    for number in range(3):
        writer.write([OutgoingRecord(source, None, b"%d" % number)], {})
    writer.close()
    group = f"group-{source}"
    settings = DispatchSettings(Responder("ns", "app", "app", "1"), dead_letters=dead, results=results, drain=2.0)
    member = KafkaMember(some_kafka, topic=source, group=group, drain=2.0)
    sink = MemorySink(lambda _: Reply(200, {}, b"x"))

    async def run() -> None:
        stop = asyncio.Event()
        running = asyncio.ensure_future(Dispatcher(member, sink, settings).run(stop))
        await until(lambda: progress() == 6 or running.done())
        stop.set()
        await running

    def progress() -> int:
        known = group_progress(some_kafka, group, [Partition(source, 0)])
        return known[Partition(source, 0)].offset if known else 0

    asyncio.run(run())
    assert progress() == 6, "three records, and a marker behind each"
    assert len(records(some_kafka, results)) == 3


async def until(true: Callable[[], bool]) -> None:
    """Until it is true; a minute at most."""

    async def waiting() -> None:
        while not await asyncio.get_running_loop().run_in_executor(None, true):  # noqa: ASYNC110  # a state of the broker
            await asyncio.sleep(0.05)

    await asyncio.wait_for(waiting(), 60)
