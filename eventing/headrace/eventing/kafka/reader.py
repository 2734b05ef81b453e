"""Reads a topic from outside any group: for people who look at it. Moves no one's offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.eventing.kafka.driver import ConsumerOptions, driver_of
from headrace.eventing.kafka.settings import as_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.eventing.kafka.driver import Consumer
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Record

POLL = 0.2
"""Seconds that a poll waits."""
MOST_A_POLL = 500
CONNECT_TIMEOUT = 5.0
"""Seconds for the first connection: a person waits."""


def read_topic(
    kafka: KafkaSettings | str, topic: str, *, follow: bool = False, latest: bool = False
) -> Iterator[Record | None]:
    """The committed records of a topic, in the order of each partition.

    Args:
        kafka: The cluster.
        topic: The topic.
        follow: Go on when the end is reached; a None then says "nothing new just now", so that the caller may stop.
        latest: Begin at the present end and not at the beginning; only useful with ``follow``.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: there is no such topic, or the broker refuses the login.
    """
    settings = as_settings(kafka)
    driver = driver_of(settings)
    options = ConsumerOptions(client_id="headrace-read", connect=CONNECT_TIMEOUT)
    with driver.faults(f"connect to Kafka at {settings.bootstrap}", settings):
        consumer = driver.consumer(settings, options)
    try:
        with driver.faults(f"read {topic} from Kafka at {settings.bootstrap}", settings):
            yield from _records(consumer, topic, follow=follow, latest=latest)
    finally:
        consumer.close()


def _records(consumer: Consumer, topic: str, *, follow: bool, latest: bool) -> Iterator[Record | None]:
    partitions = consumer.partitions(topic)
    if not partitions:
        raise ConfigurationError(f"There is no topic {topic!r}", hint="is its name right, is this the right broker?")
    ends = consumer.ends(partitions)
    starts = ends if latest else consumer.begins(partitions)
    consumer.assign(starts)
    reached = dict(starts)
    while follow or any(reached[partition] < ends[partition] for partition in partitions):
        yield from consumer.poll(POLL, MOST_A_POLL)
        if follow:
            yield None
        else:
            reached |= consumer.positions()
