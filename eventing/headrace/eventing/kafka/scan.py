"""Topics as they stand now: read from given offsets to given ends, outside any group. Moves no one's offsets."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError, UnavailableError
from headrace.eventing.kafka.driver import ConsumerOptions, driver_of
from headrace.eventing.kafka.settings import as_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from typing_extensions import Self

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Committed, Partition, Record

POLL = 0.2
"""Seconds that a poll waits."""
MOST_A_POLL = 2000
CONNECT_TIMEOUT = 5.0
"""Seconds for the first connection: a person waits."""
PATIENCE = 30.0
"""Seconds without one record or offset more before a scan gives up on the broker."""
NEAR = 2000
"""Records that are read and passed over rather than sought past: a seek costs about as much."""


class Scanner:
    """Reads committed records; a context manager, and for one scan at a time.

    Args:
        kafka: The cluster.
        group: Whose progress :meth:`committed` tells; it is not joined.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: the broker refuses the login.
    """

    def __init__(self, kafka: KafkaSettings | str, *, group: str | None = None) -> None:
        self._settings = as_settings(kafka)
        self._driver = driver_of(self._settings)
        options = ConsumerOptions(client_id="headrace-scan", group=group, connect=CONNECT_TIMEOUT)
        with self._faults("connect"):
            self._consumer = self._driver.consumer(self._settings, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._faults("close"):
            self._consumer.close()

    def begins(self, topic: str) -> dict[Partition, int]:
        """By partition, the first offset that is there.

        Raises:
            ConfigurationError: there is no such topic.
        """
        with self._faults(f"read {topic}"):
            return self._consumer.begins(self._partitions(topic))

    def ends(self, topic: str) -> dict[Partition, int]:
        """By partition, the offset behind the last committed record.

        Raises:
            ConfigurationError: there is no such topic.
        """
        with self._faults(f"read {topic}"):
            return self._consumer.ends(self._partitions(topic))

    def has(self, topic: str) -> bool:
        """Whether there is such a topic."""
        with self._faults(f"read {topic}"):
            return bool(self._consumer.partitions(topic))

    def committed(self, topic: str) -> dict[Partition, Committed | None]:
        """How far the group of this scanner is.

        Raises:
            ConfigurationError: there is no such topic.
        """
        with self._faults(f"ask for the offsets of {topic}"):
            return self._consumer.committed(self._partitions(topic))

    def read(self, starts: Mapping[Partition, int], ends: Mapping[Partition, int]) -> Iterator[Record]:
        """The records from ``starts`` (included) to ``ends`` (not included), in the order of each partition.

        Raises:
            UnavailableError: the broker stopped answering.
        """
        wanted = {partition: offset for partition, offset in starts.items() if offset < ends.get(partition, 0)}
        if not wanted:
            return
        with self._faults(f"read {next(iter(wanted)).topic}"):
            self._consumer.assign(wanted)
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
            self._consumer.pause(starts.keys() - unread)
            for record in self._consumer.poll(POLL, MOST_A_POLL):
                if record.offset < ends[record.partition]:
                    yield record
                moved = time.monotonic()
            before, reached = reached, reached | self._consumer.positions()
            if reached != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > PATIENCE:
                place = ", ".join(f"{p.topic}/{p.number} at {reached[p]}" for p in sorted(unread))
                raise UnavailableError(f"Nothing more came for {PATIENCE:g} s from {place}", hint="is the broker well?")

    def _partitions(self, topic: str) -> list[Partition]:
        partitions = self._consumer.partitions(topic)
        if not partitions:
            raise ConfigurationError(
                f"There is no topic {topic!r}", hint="is its name right, is this the right broker?"
            )
        return partitions

    def _faults(self, what: str) -> AbstractContextManager[None]:
        return self._driver.faults(f"{what} in Kafka at {self._settings.bootstrap}", self._settings)


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
