"""Topics as they stand now: read from given offsets to given ends, outside any group. Moves no one's offsets."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from headrace.errors import ConfigurationError, UnavailableError
from headrace.eventing.kafka.faults import translate
from headrace.eventing.log import Committed, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

POLL = 200
"""Milliseconds that a poll waits."""
MOST_A_POLL = 2000
CONNECT_TIMEOUT = 5_000
"""Milliseconds for the first connection: a person waits."""
PATIENCE = 30.0
"""Seconds without one record or offset more before a scan gives up on the broker."""
NEAR = 2000
"""Records that are read and passed over rather than sought past: a seek costs about as much."""


class Scanner:
    """Reads committed records; a context manager, and for one scan at a time.

    Args:
        bootstrap: ``HOST:PORT`` of the broker.
        group: Whose progress :meth:`committed` tells; it is not joined.

    Raises:
        UnavailableError: no broker answers.
    """

    def __init__(self, bootstrap: str, *, group: str | None = None) -> None:
        self._bootstrap = bootstrap
        with _faults(f"connect to Kafka at {bootstrap}"):
            self._consumer: Any = KafkaConsumer(
                bootstrap_servers=bootstrap,
                client_id="headrace-scan",
                group_id=group,
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                bootstrap_timeout_ms=CONNECT_TIMEOUT,
                allow_auto_create_topics=False,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def begins(self, topic: str) -> dict[Partition, int]:
        """By partition, the first offset that is there.

        Raises:
            ConfigurationError: there is no such topic.
        """
        with _faults(self._what(topic)):
            return _by_partition(self._consumer.beginning_offsets(_raw(self._partitions(topic))))

    def ends(self, topic: str) -> dict[Partition, int]:
        """By partition, the offset behind the last committed record.

        Raises:
            ConfigurationError: there is no such topic.
        """
        with _faults(self._what(topic)):
            return _by_partition(self._consumer.end_offsets(_raw(self._partitions(topic))))

    def has(self, topic: str) -> bool:
        """Whether there is such a topic."""
        with _faults(self._what(topic)):
            return bool(self._consumer.partitions_for_topic(topic))

    def committed(self, topic: str) -> dict[Partition, Committed | None]:
        """How far the group of this scanner is.

        Raises:
            ConfigurationError: there is no such topic.
        """
        with _faults(f"ask Kafka at {self._bootstrap} for the offsets of {topic}"):
            return {partition: self._committed(partition) for partition in self._partitions(topic)}

    def read(self, starts: Mapping[Partition, int], ends: Mapping[Partition, int]) -> Iterator[Record]:
        """The records from ``starts`` (included) to ``ends`` (not included), in the order of each partition.

        Raises:
            UnavailableError: the broker stopped answering.
        """
        wanted = {partition: offset for partition, offset in starts.items() if offset < ends.get(partition, 0)}
        if not wanted:
            return
        with _faults(self._what(next(iter(wanted)).topic)):
            self._consumer.assign(_raw(wanted))
            for partition, offset in wanted.items():
                self._consumer.seek(TopicPartition(*partition), offset)
            yield from self._until(ends, wanted)

    def topic(self, topic: str) -> Iterator[Record]:
        """Every record of a topic up to its present end.

        Raises:
            ConfigurationError: there is no such topic.
            UnavailableError: the broker stopped answering.
        """
        ends = self.ends(topic)
        yield from self.read(self.begins(topic), ends)

    def fetch(self, places: Iterable[tuple[Partition, int]]) -> Iterator[Record]:
        """The records at these places, those that are still there.

        Raises:
            UnavailableError: the broker stopped answering.
        """
        for partition, run in _runs(places):
            wanted = set(run)
            for record in self.read({partition: run[0]}, {partition: run[-1] + 1}):
                if record.offset in wanted:
                    yield record

    def _until(self, ends: Mapping[Partition, int], starts: Mapping[Partition, int]) -> Iterator[Record]:
        reached = dict(starts)
        moved = time.monotonic()
        while unread := {partition for partition in starts if reached[partition] < ends[partition]}:
            self._consumer.pause(*_raw(starts.keys() - unread))
            batches = self._consumer.poll(timeout_ms=POLL, max_records=MOST_A_POLL)
            for raw in (raw for batch in batches.values() for raw in batch):
                partition = Partition(raw.topic, raw.partition)
                if raw.offset < ends[partition]:
                    yield _record(raw)
                moved = time.monotonic()
            before, reached = reached, reached | self._positions(unread)
            if reached != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > PATIENCE:
                place = ", ".join(f"{p.topic}/{p.number} at {reached[p]}" for p in sorted(unread))
                raise UnavailableError(f"Nothing more came for {PATIENCE:g} s from {place}", hint="is the broker well?")

    def _positions(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Past every record delivered, and past what is there and no record; unknown ones are left out."""
        known: dict[Partition, int] = {}
        for partition in partitions:
            with suppress(KafkaError):  # the broker is away: the next poll asks again
                position = self._consumer.position(TopicPartition(*partition), timeout_ms=POLL)
                if position is not None:
                    known[partition] = position
        return known

    def _committed(self, partition: Partition) -> Committed | None:
        known = self._consumer.committed(TopicPartition(*partition), metadata=True)
        return Committed(known.offset, known.metadata or "") if known is not None and known.offset >= 0 else None

    def _partitions(self, topic: str) -> list[Partition]:
        partitions = [Partition(topic, number) for number in sorted(self._consumer.partitions_for_topic(topic) or ())]
        if not partitions:
            raise ConfigurationError(
                f"There is no topic {topic!r}", hint="is its name right, is this the right broker?"
            )
        return partitions

    def _what(self, topic: str) -> str:
        return f"read {topic} from Kafka at {self._bootstrap}"


@contextmanager
def _faults(what: str) -> Iterator[None]:
    """Inside, kafka-python's errors become Headrace's."""
    try:
        yield
    except KafkaError as fault:
        raise translate(fault, what) from fault


def _raw(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]


def _by_partition(offsets: Mapping[TopicPartition, int]) -> dict[Partition, int]:
    return {Partition(*raw): offset for raw, offset in offsets.items()}


def _record(raw: Any) -> Record:
    return Record(
        Partition(raw.topic, raw.partition), raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)
    )


def _runs(places: Iterable[tuple[Partition, int]]) -> Iterator[tuple[Partition, list[int]]]:
    """The places as runs of ascending offsets of one partition, without wide gaps."""
    offsets: defaultdict[Partition, set[int]] = defaultdict(set)
    for partition, offset in places:
        offsets[partition].add(offset)
    for partition, chosen in offsets.items():
        run: list[int] = []
        for offset in sorted(chosen):
            if run and offset - run[-1] > NEAR:
                yield partition, run
                run = []
            run.append(offset)
        yield partition, run
