"""Writes records and a group's progress in one Kafka transaction (KIP-98, KIP-447)."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from headrace.eventing.kafka.faults import translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.eventing.log import Committed, OutgoingRecord, Partition

_log = logging.getLogger(__name__)
MOST_RECORD_BYTES = 64 * 1024 * 1024
"""Bytes of the largest record the client itself lets through; the topic's own limit is the broker's to enforce."""
REQUEST_TIMEOUT = 5_000
"""Milliseconds for one answer of the broker; a connection that died without a word is noticed so."""
DELIVERY_TIMEOUT = 10_000
"""Milliseconds for a record to be acknowledged. kafka-python 3.0 may sit on a batch after its broker came back until
this is over (the default is two minutes); a new producer then writes it at once."""
TIMEOUT = 15_000
"""Milliseconds after which the broker aborts a transaction whose writer is gone: so long at most do readers of the
results wait behind a writer that was killed and never came back."""


class TransactionalWriter:
    """One transactional producer; every method blocks, and belongs to one thread.

    Args:
        bootstrap: ``HOST:PORT`` of the broker.
        transactional_id: The same for every life of this group member: a new life fences the old one.
    """

    def __init__(self, bootstrap: str, transactional_id: str) -> None:
        self._bootstrap = bootstrap
        self._transactional_id = transactional_id
        self._producer: Any = None

    def open(self) -> None:
        """Connect, and end what an earlier life of this name, or a write that failed, left open.

        What the broker had decided is completed, all else aborted (``InitProducerId``): nothing is in doubt afterwards.

        Raises:
            UnavailableError: no broker answers.
        """
        try:
            self._ready_producer()
        except KafkaError as fault:
            self.close()
            raise translate(fault, f"open a transaction in Kafka at {self._bootstrap}") from fault

    def write(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed], group: Any) -> None:
        """Write all or nothing.

        Args:
            records: What to append.
            done: Progress to commit for the group.
            group: The consumer's ``ConsumerGroupMetadata``: a member that was expelled commits nothing.

        Raises:
            UnavailableError: the broker did not say that it is written. It may be: :meth:`open` brings it to an end,
                and the group's progress then tells which.
            PayloadTooLargeError: a record is over its topic's limit; nothing was written.
            TakenOverError: a later life of this name has begun; nothing was written, and nothing ever will be.
        """
        try:
            self._transact(records, done, group)
        except KafkaError as fault:
            self._abort()
            raise translate(fault, f"write to Kafka at {self._bootstrap}") from fault

    def close(self) -> None:
        """Let go of the producer."""
        if self._producer is not None:
            with contextlib.suppress(KafkaError):
                self._producer.close(timeout=5)
            self._producer = None

    def _transact(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed], group: Any) -> None:
        producer = self._ready_producer()
        producer.begin_transaction()
        sent = [
            producer.send(record.topic, record.value, key=_key(record), headers=list(record.headers))
            for record in records
        ]
        # Not the producer's flush: it fails at random while it splits a batch that the broker found too large, and
        # hides which record is. Nothing lingers, so all is on its way already, and ends by the delivery timeout.
        for future in sent:
            future.get()
        if done:
            offsets = {TopicPartition(*p): OffsetAndMetadata(c.offset, c.metadata, -1) for p, c in done.items()}
            producer.send_offsets_to_transaction(offsets, group)
        producer.commit_transaction()

    def _ready_producer(self) -> Any:
        if self._producer is None:
            self._producer = KafkaProducer(
                bootstrap_servers=self._bootstrap,
                transactional_id=self._transactional_id,
                transaction_timeout_ms=TIMEOUT,
                max_request_size=MOST_RECORD_BYTES,
                linger_ms=0,
                request_timeout_ms=REQUEST_TIMEOUT,
                delivery_timeout_ms=DELIVERY_TIMEOUT,
                max_block_ms=TIMEOUT,
                client_id="headrace-dispatcher",
            )
            self._producer.init_transactions()
        return self._producer

    def _abort(self) -> None:
        """Abort, and start over with a new producer.

        kafka-python 3.0 does not find its sequence numbers again after a record that the broker refused, and a fenced
        producer stays fenced; a new one begins clean, and its ``init_transactions`` aborts what the old one left.
        """
        try:
            if self._producer is not None:
                self._producer.abort_transaction()
        except KafkaError as fault:
            _log.warning("the transaction is left to the next producer to abort: %s", fault)
        self.close()


def _key(record: OutgoingRecord) -> bytes | None:
    # kafka-python refuses a record with neither key nor value; Kafka itself does not. An empty key keeps such an
    # event (one without data and key) publishable.
    return b"" if record.key is None and record.value is None else record.key
