"""A log in memory with the manners of Kafka, for tests of dispatchers and of users' apps."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.eventing.log import Committed, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.eventing.log import OutgoingRecord, RebalanceListener

POLL = 0.5
"""Seconds that a poll of an empty log waits."""


@dataclass(slots=True)
class MemoryBroker:
    """Topics and one group's progress: what outlives a member.

    Args:
        partitions: Partitions of every topic.
    """

    partitions: int = 1
    topics: dict[Partition, list[Record]] = field(default_factory=dict)
    committed: dict[Partition, Committed] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def append(self, outgoing: OutgoingRecord) -> Record:
        """Append one record, to the partition of its key."""
        number = zlib.crc32(outgoing.key) % self.partitions if outgoing.key is not None else 0
        partition = Partition(outgoing.topic, number)
        records = self.topics.setdefault(partition, [])
        record = Record(partition, len(records), -1, outgoing.key, outgoing.value, tuple(outgoing.headers))
        records.append(record)
        self.arrived.set()
        return record

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, partition by partition."""
        return [r for p, records in sorted(self.topics.items()) if p.topic == topic for r in records]


class MemoryLog:
    """One member, alone in its group; see :class:`headrace.eventing.log.EventLog`.

    Args:
        broker: What outlives this member.
        topic: The topic it reads.
    """

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._position: dict[Partition, int] = {}
        self._paused: AbstractSet[Partition] = frozenset()
        self._idle = False

    async def start(self, listener: RebalanceListener) -> None:
        """Own every partition, from what was committed last."""
        partitions = [Partition(self._topic, number) for number in range(self._broker.partitions)]
        known = {partition: self._broker.committed.get(partition) for partition in partitions}
        self._position = {partition: committed.offset if committed else 0 for partition, committed in known.items()}
        listener.assigned(known)

    async def poll(self, most: int) -> Sequence[Record]:
        """The next records of partitions that are not paused."""
        records = self._take(most)
        if not records:
            self._broker.arrived.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._broker.arrived.wait(), POLL)
            records = self._take(most)
        self._idle = not records
        return records

    def reached(self) -> Mapping[Partition, int]:
        """Where the next poll begins, after one that brought nothing."""
        return dict(self._position) if self._idle else {}

    def ends(self) -> Mapping[Partition, int]:
        """Behind the last record of each partition."""
        return {partition: len(self._broker.topics.get(partition, ())) for partition in self._position}

    def position(self, partition: Partition) -> int:
        """The next offset that a poll delivers."""
        return self._position[partition]

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """Deliver nothing of exactly these partitions."""
        self._paused = partitions

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Append the records and keep the progress."""
        for record in records:
            self._broker.append(record)
        self._broker.committed.update(done)

    async def committed(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, Committed]:
        """What was kept last."""
        return {
            partition: self._broker.committed[partition] for partition in partitions & self._broker.committed.keys()
        }

    async def close(self) -> None:
        """Nothing to let go of."""

    def _take(self, most: int) -> list[Record]:
        taken: list[Record] = []
        for partition in self._position.keys() - self._paused:
            begin = self._position[partition]
            records = self._broker.topics.get(partition, [])[begin : begin + most - len(taken)]
            self._position[partition] += len(records)
            taken += records
        return taken
