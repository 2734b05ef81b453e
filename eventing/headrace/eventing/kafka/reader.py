"""Reads a topic from outside any group: for people who look at it. Moves no one's offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from headrace.errors import ConfigurationError
from headrace.eventing.kafka.faults import translate
from headrace.eventing.log import Partition, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL = 200
"""Milliseconds that a poll waits."""


def read_topic(bootstrap: str, topic: str, *, follow: bool = False, latest: bool = False) -> Iterator[Record | None]:
    """The committed records of a topic, in the order of each partition.

    Args:
        bootstrap: ``HOST:PORT`` of the broker.
        topic: The topic.
        follow: Go on when the end is reached; a None then says "nothing new just now", so that the caller may stop.
        latest: Begin at the present end and not at the beginning; only useful with ``follow``.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: there is no such topic.
    """
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            client_id="headrace-read",
            isolation_level="read_committed",
            enable_auto_commit=False,
            bootstrap_timeout_ms=5_000,
            allow_auto_create_topics=False,
        )
    except KafkaError as fault:
        raise translate(fault, f"connect to Kafka at {bootstrap}") from fault
    try:
        yield from _records(consumer, topic, follow=follow, latest=latest)
    except KafkaError as fault:
        raise translate(fault, f"read {topic} from Kafka at {bootstrap}") from fault
    finally:
        consumer.close()


def _records(consumer: Any, topic: str, *, follow: bool, latest: bool) -> Iterator[Record | None]:
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    if not partitions:
        raise ConfigurationError(f"There is no topic {topic!r}", hint="is its name right, is this the right broker?")
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    if latest:
        consumer.seek_to_end(*partitions)
    else:
        consumer.seek_to_beginning(*partitions)
    while follow or any(consumer.position(partition) < ends[partition] for partition in partitions):
        batches = consumer.poll(timeout_ms=POLL)
        yield from (_record(raw) for batch in batches.values() for raw in batch)
        if follow:
            yield None


def _record(raw: Any) -> Record:
    return Record(
        Partition(raw.topic, raw.partition), raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)
    )
