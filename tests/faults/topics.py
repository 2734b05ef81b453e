"""The topics of a scene: events go in, and what became of them is counted, by clients that are not ours."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.testing.app import until

from .tally import Batch, Row, count, event, lag

if TYPE_CHECKING:
    from collections import Counter

WAIT = 30.0
PATIENCE = 300.0
"""Seconds until all that is to come must have come."""


class Topics(ABC):
    """``in``, ``out`` and ``dead`` on a broker that a fault may hit."""

    @property
    @abstractmethod
    def bootstrap(self) -> str:
        """Where the broker is."""

    @property
    @abstractmethod
    def got(self) -> Counter[str]:
        """Deliveries by event id."""

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic."""
        admin = self._admin()  # its answers come as long as it is there
        admin.create_topics([NewTopic(topic, partitions)])[topic].result(WAIT)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        admin = self._admin()
        admin.delete_topics([topic])[topic].result(WAIT)

    def publish(self, name: str, events: int, *, poison: int = 0) -> Batch:
        """Publish events, every ``poison``-th of them such that the sink fails; wait for all acknowledgements."""
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "log_level": 0}
        )
        bad = {number for number in range(events) if poison and number % poison == 1}
        for number in range(events):
            producer.produce("in", **event(number, name, poison=number in bad))
        assert producer.flush(PATIENCE) == 0
        ids = tuple(f"{name}-{number}" for number in range(events))
        return Batch(name, ids, frozenset(ids[number] for number in bad))

    def until_delivered(self, batch: Batch, share: float) -> None:
        """Wait until the sink has got this share of the batch."""
        most = share * len(batch.ids)
        until(lambda: len(self.got.keys() & set(batch.ids)) >= most, f"{share:.0%} of {batch.name}", PATIENCE)

    def settled(self, batch: Batch, began: float) -> Row:
        """The numbers once nothing is to come any more, or when patience ends."""
        rows: list[Row] = []

        def is_over() -> bool:
            # The broker may be starting, or an offset hang on a transaction.
            with suppress(confluent_kafka.KafkaException, TimeoutError, KeyError):
                rows.append(count(self.bootstrap, batch, self.got, time.monotonic() - began))
            return bool(rows) and rows[-1].is_over

        with suppress(Exception):  # the last numbers tell more than that time is up
            until(is_over, f"{batch.name} is settled", PATIENCE)
        assert rows, "the topics cannot be read"
        return rows[-1]

    def lag(self) -> int:
        """Records that are not committed yet."""
        return lag(self.bootstrap, "in")

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
