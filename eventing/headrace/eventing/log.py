"""The log that events come from and answers go to: values, and the seam behind which Kafka is.

Two implementations: ``headrace.eventing.kafka.member`` and, in memory, ``headrace.eventing.memory``; one contract
suite runs over both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

Headers = tuple[tuple[str, bytes | None], ...]


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies in the log."""

    partition: Partition
    offset: int
    timestamp: int
    """Milliseconds since the epoch; -1 where the record has none."""
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """How far a partition is done."""

    offset: int
    """The next offset to read: all before it is done."""
    metadata: str = ""
    """What the ledger knows beyond the offset; Kafka keeps up to 4,096 bytes of it."""


class RebalanceListener(Protocol):
    """Told when partitions come and go."""

    def assigned(self, committed: Mapping[Partition, Committed | None]) -> None:
        """These partitions are this member's now, with what the group committed last."""

    async def revoked(self, partitions: AbstractSet[Partition]) -> None:
        """These partitions leave when this returns: finish and commit what can be finished."""

    def lost(self, partitions: AbstractSet[Partition]) -> None:
        """These partitions are another member's already: commit nothing of theirs."""


class EventLog(Protocol):
    """A group member's view of the log. Its methods are called from one event loop."""

    async def start(self, listener: RebalanceListener) -> None:
        """Join the group.

        Raises:
            UnavailableError: no broker answers.
        """

    async def poll(self, most: int) -> Sequence[Record]:
        """The next records, at most ``most``; waits up to half a second, then answers with none."""

    def reached(self) -> Mapping[Partition, int]:
        """By partition, the offset that the last poll read up to, where it brought nothing; else empty.

        All before it was delivered by polls, or is no record (a marker of a transaction, a gap of compaction): a
        committed offset that stops before markers would show a lag for ever.
        """

    def ends(self) -> Mapping[Partition, int]:
        """By partition of this member, the offset behind the last record, as it was known lately: for metrics."""

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """From the next poll on, deliver nothing of exactly these partitions; of all others, go on."""

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Write the records and the progress: all of it or none, visible at once to ``read_committed`` readers.

        Raises:
            UnavailableError: the log did not say that it is written. It may be: ask :meth:`committed` before anything
                is written again. The same holds for a call that is cancelled.
            PayloadTooLargeError: a record is over the topic's limit; nothing was written.
            TakenOverError: a later life of this member has begun; this one must end.
        """

    async def committed(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, Committed]:
        """What the group has committed, with every commit that this member began at an end; absent where nothing is.

        Raises:
            UnavailableError: no broker answers.
            TakenOverError: a later life of this member has begun; this one must end.
        """

    async def close(self) -> None:
        """Leave the group."""
