"""Reading by librdkafka."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import confluent_kafka as ck

from headrace.eventing.kafka.confluent.words import END
from headrace.eventing.kafka.driver import committed_of
from headrace.eventing.log import Partition, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from headrace.eventing.kafka.confluent.connection import Heard
    from headrace.eventing.kafka.driver import Rebalance
    from headrace.eventing.log import Committed

CALL_TIMEOUT = 30.0
"""Seconds for one question to the broker."""


class _Group(NamedTuple):
    """librdkafka's group metadata."""

    member_id: str
    opaque: Any


class ConfluentConsumer:
    """See :class:`headrace.eventing.kafka.driver.Consumer`."""

    def __init__(self, consumer: Any, heard: Heard) -> None:
        self._consumer = consumer
        self._heard = heard
        self._positions: dict[Partition, int] = {}
        self._owned: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._group = _Group("", None)

    def subscribe(self, topic: str, rebalance: Rebalance) -> None:
        """Join the group; the callbacks come inside :meth:`poll` and :meth:`close`."""

        def assigned(_: Any, raw: list[Any]) -> None:
            partitions = _partitions(raw)
            self._forget(partitions)
            self._owned |= partitions
            rebalance.on_assigned(partitions)

        def revoked(_: Any, raw: list[Any]) -> None:
            partitions = _partitions(raw)
            self._note_membership()
            rebalance.on_revoked(partitions)
            self._forget(partitions)

        def lost(_: Any, raw: list[Any]) -> None:
            partitions = _partitions(raw)
            self._forget(partitions)
            rebalance.on_lost(partitions)

        self._consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic."""
        found = self._consumer.list_topics(topic, timeout=CALL_TIMEOUT).topics.get(topic)
        return [Partition(topic, number) for number in sorted(found.partitions)] if found and not found.error else []

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where each ends."""
        return {partition: self._watermarks(partition)[1] for partition in partitions}

    def begins(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where each begins."""
        return {partition: self._watermarks(partition)[0] for partition in partitions}

    def assign(self, starts: Mapping[Partition, int]) -> None:
        """Read these outside any group."""
        self._owned, self._positions, self._paused = set(starts), dict(starts), set()
        self._consumer.assign([ck.TopicPartition(*partition, offset) for partition, offset in starts.items()])

    def poll(self, seconds: float, most: int) -> list[Record]:
        """The next records."""
        deadline = time.monotonic() + seconds
        while True:
            # `consume` alone would wait until it has `most` records or the time is over.
            first = self._consumer.poll(max(0.0, deadline - time.monotonic()))
            messages = [] if first is None else [first, *self._consumer.consume(most - 1, 0)]
            records = self._sort(messages)
            self._note_membership()
            if records or time.monotonic() >= deadline:
                return records

    def positions(self) -> dict[Partition, int]:
        """How far each was read."""
        return {partition: offset for partition, offset in self._positions.items() if partition in self._owned}

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """Deliver nothing of exactly these."""
        wanted = partitions & self._owned
        if begun := wanted - self._paused:
            self._consumer.pause(_raw(begun))
        if ended := self._paused - wanted:
            self._consumer.resume(_raw(ended))
        self._paused = set(wanted)

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed | None]:
        """What the group committed last."""
        if not partitions:
            return {}
        found = self._consumer.committed(_raw(partitions), timeout=CALL_TIMEOUT)
        for raw in found:
            if raw.error:
                raise ck.KafkaException(raw.error)
        return {Partition(raw.topic, raw.partition): committed_of(raw.offset, raw.metadata) for raw in found}

    def membership(self) -> _Group:
        """The place in the group, as a poll noted it last."""
        # librdkafka answers no other thread while a callback of the rebalance runs.
        return self._group

    def join_anew(self) -> None:
        """Nothing: librdkafka's heartbeats have a thread of their own, and notice."""

    def _note_membership(self) -> None:
        self._group = _Group(self._consumer.memberid() or "", self._consumer.consumer_group_metadata())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _watermarks(self, partition: Partition) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(ck.TopicPartition(*partition), timeout=CALL_TIMEOUT)
        return int(low), int(high)

    def _sort(self, messages: list[Any]) -> list[Record]:
        """The records among the messages; ends become positions, and a fault is raised where no record would go."""
        records: list[Record] = []
        fault: Any = None
        for message in messages:
            error = message.error()
            if error is None:
                records.append(_record(message))
                self._positions[records[-1].partition] = records[-1].offset + 1
            elif error.code() == END:
                self._positions[Partition(message.topic(), message.partition())] = message.offset()
            else:
                fault = error
        if not records:
            self._heard.check()
        if fault is not None and not records:
            raise ck.KafkaException(fault)
        return records

    def _forget(self, partitions: AbstractSet[Partition]) -> None:
        self._owned -= partitions
        self._paused -= partitions
        for partition in partitions:
            self._positions.pop(partition, None)


def _partitions(raw: Iterable[Any]) -> set[Partition]:
    return {Partition(each.topic, each.partition) for each in raw}


def _raw(partitions: Iterable[Partition]) -> list[Any]:
    return [ck.TopicPartition(*partition) for partition in partitions]


def _record(message: Any) -> Record:
    partition = Partition(message.topic(), message.partition())
    kind, stamp = message.timestamp()
    timestamp = stamp if kind != ck.TIMESTAMP_NOT_AVAILABLE else -1
    headers = tuple(message.headers() or ())
    return Record(partition, message.offset(), timestamp, message.key(), message.value(), headers)
