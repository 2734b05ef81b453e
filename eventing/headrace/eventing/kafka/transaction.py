"""Writes records and a group's progress in one Kafka transaction (KIP-98, KIP-447)."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.eventing.kafka.driver import ProducerOptions, driver_of
from headrace.eventing.kafka.settings import as_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.eventing.kafka.driver import Membership, Producer
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Committed, OutgoingRecord, Partition

_log = logging.getLogger(__name__)
REQUEST_TIMEOUT = 5.0
"""Seconds for one answer of the broker; a connection that died without a word is noticed so."""
DELIVERY_TIMEOUT = 10.0
"""Seconds for a record to be acknowledged. kafka-python 3.0 may sit on a batch after its broker came back until
this is over (the default is two minutes); a new producer then writes it at once."""
TIMEOUT = 15.0
"""Seconds after which the broker aborts a transaction whose writer is gone: so long at most do readers of the
results wait behind a writer that was killed and never came back."""
CLOSE_TIMEOUT = 5.0
"""Seconds for a producer to let go."""


class TransactionalWriter:
    """One transactional producer; every method blocks, and belongs to one thread.

    Args:
        kafka: The cluster.
        transactional_id: The same for every life of this group member: a new life fences the old one.
    """

    def __init__(self, kafka: KafkaSettings | str, transactional_id: str) -> None:
        self._settings = as_settings(kafka)
        self._driver = driver_of(self._settings)
        self._transactional_id = transactional_id
        self._producer: Producer | None = None

    def open(self) -> None:
        """Connect, and end what an earlier life of this name, or a write that failed, left open.

        What the broker had decided is completed, all else aborted (``InitProducerId``): nothing is in doubt afterwards.

        Raises:
            UnavailableError: no broker answers.
            ConfigurationError: the broker refuses the login or the right.
        """
        try:
            with self._driver.faults(f"open a transaction in Kafka at {self._settings.bootstrap}", self._settings):
                self._ready_producer()
        except HeadraceError:
            self.close()
            raise

    def write(
        self,
        records: Sequence[OutgoingRecord],
        done: Mapping[Partition, Committed],
        group: Callable[[], Membership] | None = None,
    ) -> None:
        """Write all or nothing.

        Args:
            records: What to append.
            done: Progress to commit for the group; needs ``group``.
            group: Gives the member's place in the group, which is asked for when it is needed: a member that was
                expelled commits nothing, and its generation may have become a newer one meanwhile.

        Raises:
            UnavailableError: the broker did not say that it is written. It may be: :meth:`open` brings it to an end,
                and the group's progress then tells which.
            PayloadTooLargeError: a record is over its topic's limit; nothing was written.
            TakenOverError: a later life of this name has begun; nothing was written, and nothing ever will be.
        """
        try:
            with self._driver.faults(f"write to Kafka at {self._settings.bootstrap}", self._settings):
                self._transact(records, done, group)
        except HeadraceError:
            self._abort()
            raise

    def close(self) -> None:
        """Let go of the producer."""
        if self._producer is not None:
            with contextlib.suppress(HeadraceError), self._driver.faults("close the producer", self._settings):
                self._producer.close(CLOSE_TIMEOUT)
            self._producer = None

    def _transact(
        self,
        records: Sequence[OutgoingRecord],
        done: Mapping[Partition, Committed],
        group: Callable[[], Membership] | None,
    ) -> None:
        producer = self._ready_producer()
        producer.begin()
        for record in records:
            producer.send(record)
        producer.flush()
        if done and group:
            producer.send_offsets(done, group())
        producer.commit()

    def _ready_producer(self) -> Producer:
        if self._producer is None:
            self._producer = self._driver.producer(
                self._settings,
                ProducerOptions(
                    client_id="headrace-dispatcher",
                    transactional_id=self._transactional_id,
                    transaction=TIMEOUT,
                    request=REQUEST_TIMEOUT,
                    delivery=DELIVERY_TIMEOUT,
                    block=TIMEOUT,
                ),
            )
            self._producer.init_transactions()
        return self._producer

    def _abort(self) -> None:
        """Abort, and start over with a new producer.

        kafka-python 3.0 does not find its sequence numbers again after a record that the broker refused, and a fenced
        producer stays fenced; a new one begins clean, and its ``init_transactions`` aborts what the old one left.
        """
        try:
            with self._driver.faults("abort the transaction", self._settings):
                if self._producer is not None:
                    self._producer.abort()
        except HeadraceError as fault:
            _log.warning("the transaction is left to the next producer to abort: %s", fault)
        self.close()
