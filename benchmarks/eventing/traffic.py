"""The events of a round, and the results that come of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120.0
"""Seconds without one result more after which a round is given up."""
POLL = 20
"""Milliseconds that a poll for results waits."""


class Traffic:
    """Publishes to one topic and counts what comes out of another.

    Args:
        kafka: ``HOST:PORT`` of the broker.
        topic: The topic of events.
        results: The topic of results.
        size: Bytes of an event's data, about.
    """

    def __init__(self, kafka: str, topic: str, results: str, *, size: int) -> None:
        self._topic = topic
        self._text = "x" * max(1, size - len(b'{"instances":[""]}'))
        self._producer: Any = KafkaProducer(bootstrap_servers=kafka, linger_ms=5)
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False
        )
        partitions = [TopicPartition(results, number) for number in self._consumer.partitions_for_topic(results)]
        self._consumer.assign(partitions)
        self._consumer.seek_to_beginning(*partitions)
        self.seen: dict[str, int] = {}
        """By event id, how many results there were."""

    def publish(self, label: str, count: int) -> list[str]:
        """Publish that many events, each with a key of its own; their ids, once Kafka has them all."""
        ids = [f"{label}-{number}" for number in range(count)]
        data = b'{"instances":["%s"]}' % self._text.encode()
        for identifier in ids:
            attributes = {
                "specversion": "1.0",
                "id": identifier,
                "source": "/benchmark",
                "type": "benchmark",
                "datacontenttype": "application/json",
                "partitionkey": identifier,
            }
            record = write_record(new_event(attributes, data), self._topic, trace={})
            self._producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
        self._producer.flush()
        return ids

    def wait(self, ids: list[str], check: Callable[[], None]) -> float:
        """Wait for a result of each; the moment of the last one, by ``time.perf_counter``.

        Args:
            ids: The events.
            check: Called now and then; raises where waiting makes no sense any more.
        """
        missing = {identifier for identifier in ids if identifier not in self.seen}
        moved = time.perf_counter()
        while missing:
            found = self._poll()
            missing.difference_update(found)
            now = time.perf_counter()
            moved = now if found else moved
            if now - moved > PATIENCE:
                raise SystemExit(
                    f"{len(missing)} of {len(ids)} events of {self._topic} had no result in {PATIENCE:g} s"
                )
            check()
        return moved

    def wait_for(self, count: int, check: Callable[[], None]) -> None:
        """Wait until so many events have a result; ``check`` as for :meth:`wait`."""
        end = time.monotonic() + PATIENCE
        while len(self.seen) < count:
            self._poll()
            check()
            if time.monotonic() > end:
                raise SystemExit(
                    f"{len(self.seen)} events of {self._topic} had a result in {PATIENCE:g} s, not {count}"
                )

    def drain(self) -> None:
        """Count results that still come, so that none that came twice is overlooked."""
        while self._poll():
            pass

    def close(self) -> None:
        """Let go of Kafka."""
        self._producer.close(timeout=5)
        self._consumer.close()

    def _poll(self) -> list[str]:
        batches = self._consumer.poll(timeout_ms=POLL)
        found = [(raw.key or b"").decode() for batch in batches.values() for raw in batch]
        for identifier in found:
            self.seen[identifier] = self.seen.get(identifier, 0) + 1
        return found
