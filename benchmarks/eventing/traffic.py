"""The events of a round, and the results that come of them."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from benchmarks.eventing.models import CASES, Case
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 600.0
"""Seconds without one result more after which a round is given up."""
MIB = 1024 * 1024
_ECHOED = re.compile(rb'"predictions": ?\["([^ "]+)')
POLL = 20
"""Milliseconds that a poll for results waits."""


class Traffic:
    """Publishes to one topic and counts what comes out of another.

    Args:
        kafka: ``HOST:PORT`` of the broker.
        topic: The topic of events.
        results: The topic of results.
        size: Bytes of an event's data, about.
        case: The model that is asked.
        keys: How many keys there are; 0 for a key an event.
    """

    def __init__(
        self, kafka: str, topic: str, results: str, *, size: int, case: Case = CASES["echo"], keys: int = 0
    ) -> None:
        self._topic = topic
        self._size = size
        self._case = case
        self._keys = keys
        self._producer: Any = KafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_request_size=4 * MIB)
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False
        )
        partitions = [TopicPartition(results, number) for number in self._consumer.partitions_for_topic(results)]
        self._consumer.assign(partitions)
        self._consumer.seek_to_beginning(*partitions)
        self.seen: dict[str, int] = {}
        """By event id, how many results there were."""

    def publish(self, label: str, count: int) -> list[str]:
        """Publish that many events; their ids, once Kafka has them all."""
        ids = [f"{label}-{number}" for number in range(count)]
        for number, identifier in enumerate(ids):
            attributes = {
                "specversion": "1.0",
                "id": identifier,
                "source": "/benchmark",
                "type": "benchmark",
                "datacontenttype": "application/json",
                "partitionkey": f"key-{number % self._keys}" if self._keys else identifier,
            }
            data = self._case.data(identifier, self._size)
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
        found = [self._answered(raw) for batch in batches.values() for raw in batch]
        for identifier in found:
            self.seen[identifier] = self.seen.get(identifier, 0) + 1
        return found

    def _answered(self, raw: Any) -> str:
        """The id of the event that a result answers: its key, or what its text begins with, where keys are shared."""
        if not self._keys:
            return (raw.key or b"").decode()
        begin = _ECHOED.search(raw.value)
        if begin is None:
            raise SystemExit(f"{raw.topic} holds what no echo answers: {raw.value[:80]!r}")
        return begin[1].decode()
