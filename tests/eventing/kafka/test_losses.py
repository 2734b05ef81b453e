"""A member that loses its place in the group is told so, whichever way its client learns of it."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from headrace.eventing.kafka.driver import ConsumerOptions
from headrace.eventing.kafka.kafka_python import KafkaPython
from headrace.eventing.kafka.topics import TopicSpec, create_topics, remove_member

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Partition

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


def _poll_until(poll: Callable[[float, int], object], true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < deadline:
        poll(0.2, 10)
