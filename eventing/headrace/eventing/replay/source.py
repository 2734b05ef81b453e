"""Where replayed events come from: a part of each of some partitions, read in order, as often as need be."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING, Protocol

from headrace.eventing.kafka.scan import Scanner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Partition, Record


class Source(Protocol):
    """Records to be replayed; what it holds never changes while a run lasts."""

    @property
    def partitions(self) -> Sequence[Partition]:
        """Its partitions."""

    @property
    def empty(self) -> int:
        """Offsets, of those that were read so far, at which no record was."""

    def total(self) -> int | None:
        """Records that there are at most, where that is known without reading all of them; for a progress bar.

        Raises:
            UnavailableError: it does not answer.
            ConfigurationError: it cannot be read.
        """

    def read(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """The records, each partition in its order; from an offset of ``starts`` on where it has one.

        Raises:
            UnavailableError: it stopped answering.
            ConfigurationError: it is not there, or cannot be read.
        """


class TopicRange:
    """A range of a topic.

    Args:
        kafka: The cluster.
        begins: By partition, the first offset of the range.
        ends: By partition, the offset behind its last.
        by_time: Give the records of all partitions together in the order of their timestamps, as a run that keeps
            their timing needs them; it costs a connection for each partition.
    """

    def __init__(
        self,
        kafka: KafkaSettings | str,
        begins: Mapping[Partition, int],
        ends: Mapping[Partition, int],
        *,
        by_time: bool = False,
    ) -> None:
        self._kafka = kafka
        self._begins = dict(begins)
        self._ends = dict(ends)
        self._by_time = by_time
        self._empty = 0

    @property
    def empty(self) -> int:
        """What compaction has removed, and what never was a record: the markers of transactions, and aborted ones."""
        return self._empty

    @property
    def partitions(self) -> Sequence[Partition]:
        """Those of the topic, also those of which the range has nothing."""
        return sorted(self._begins)

    def total(self) -> int | None:
        """The offsets that the range spans."""
        return sum(max(0, self._ends[partition] - begin) for partition, begin in self._begins.items())

    def read(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """The committed records of the range."""
        begins = {partition: max(begin, starts.get(partition, begin)) for partition, begin in self._begins.items()}
        if not self._by_time:
            return self._range(begins)
        single = (self._range({partition: begin}) for partition, begin in begins.items())
        return merge(*single, key=lambda record: record.timestamp)

    def _range(self, begins: Mapping[Partition, int]) -> Iterator[Record]:
        reached = dict(begins)
        with Scanner(self._kafka) as scanner:
            for record in scanner.read(begins, self._ends):
                self._empty += record.offset - reached[record.partition]
                reached[record.partition] = record.offset + 1
                yield record
        self._empty += sum(max(0, self._ends[partition] - offset) for partition, offset in reached.items())
