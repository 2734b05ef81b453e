"""Writing by librdkafka."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck

from headrace.eventing.kafka.confluent.words import FATAL, timed_out
from headrace.eventing.log import Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.eventing.kafka.confluent.connection import Heard
    from headrace.eventing.kafka.driver import Membership, Place
    from headrace.eventing.log import Committed, OutgoingRecord

WAIT_STEP = 0.1
"""Seconds of one step of a wait for acknowledgements."""


class ConfluentProducer:
    """See :class:`headrace.eventing.kafka.driver.Producer`."""

    def __init__(self, producer: Any, heard: Heard, block: float) -> None:
        self._producer = producer
        self._heard = heard
        self._block = block
        self._places: list[Place | None] = []
        self._fault: Any = None
        self._ended: Exception | None = None
        """Why this producer can do nothing more."""

    def init_transactions(self) -> None:
        """Fence earlier lives."""
        self._producer.init_transactions(self._block)

    def begin(self) -> None:
        """Begin a transaction."""
        self._producer.begin_transaction()

    def send(self, record: OutgoingRecord, told: Callable[[Exception | None], None] | None = None) -> None:
        """Hand over one record."""
        places, index = self._places, len(self._places)
        places.append(None)

        def delivered(error: Any, message: Any) -> None:
            if error is None:
                places[index] = (Partition(message.topic(), message.partition()), message.offset())
            elif self._places is places:
                self._fault = self._fault or error
            if told is not None:
                told(None if error is None else ck.KafkaException(error))

        self._produce(record, delivered)

    def flush(self, seconds: float | None = None) -> list[Place]:
        """Wait for all that was sent."""
        remaining = self._wait(self._block if seconds is None else seconds)
        places, fault = self._places, self._fault
        self._places, self._fault = [], None
        if self._ended:
            raise self._ended
        if fault is not None:
            raise ck.KafkaException(fault)
        if remaining:
            self._heard.check()
            raise timed_out(f"{remaining} records are not acknowledged")
        return [place for place in places if place is not None]

    def send_offsets(self, done: Mapping[Partition, Committed], group: Membership) -> None:
        """Put progress into the transaction."""
        offsets = [ck.TopicPartition(*p, c.offset, c.metadata) for p, c in done.items()]
        self._producer.send_offsets_to_transaction(offsets, group.opaque, self._block)

    def commit(self) -> None:
        """Commit it."""
        self._producer.commit_transaction(self._block)

    def abort(self) -> None:
        """Abort it."""
        self._producer.abort_transaction(self._block)

    def close(self, seconds: float) -> None:
        """Drop what is under way, and hear of it."""
        self._producer.purge()
        self._wait(seconds)

    def _wait(self, seconds: float) -> int:
        """Wait for all acknowledgements; how many did not come.

        Not by ``flush``: of confluent-kafka 2.16 it fails at times, with a SystemError, when the producer is fenced.
        """
        deadline = time.monotonic() + seconds
        while len(self._producer) and (left := deadline - time.monotonic()) > 0:
            self._poll(min(left, WAIT_STEP))
        return len(self._producer)

    def _produce(self, record: OutgoingRecord, delivered: Callable[[Any, Any], None]) -> None:
        deadline = time.monotonic() + self._block
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=delivered,
                )
            except BufferError:  # the client's own queue is full: make room
                if time.monotonic() >= deadline:
                    raise timed_out("the client's queue stays full") from None
                self._poll(WAIT_STEP)
            except ck.KafkaException as fault:
                if fault.args[0].code() != FATAL:
                    raise
                self._poll(0)
                raise self._ended or fault from None
            else:
                self._poll(0)
                return

    def _poll(self, seconds: float) -> None:
        try:
            self._producer.poll(seconds)
        except ck.KafkaException as fault:
            self._ended = self._ended or fault
            raise
