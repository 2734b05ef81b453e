"""Where a run's answers and its progress are kept: together, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Protocol

import orjson

from headrace.errors import ConfigurationError, StorageFullError
from headrace.eventing.codec import json_format
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.topics import TopicSpec
from headrace.eventing.kafka.transaction import TransactionalWriter
from headrace.eventing.log import Committed, OutgoingRecord, Partition, Record
from headrace.eventing.replay.recording import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from headrace.eventing.kafka.settings import KafkaSettings

RESULTS = "results"
"""What the dispatcher of a run takes for its topic of answers."""
REJECTED = "rejected"
"""What it takes for its topic of dead letters."""


@dataclass(frozen=True, slots=True)
class RunTopics:
    """Where a run writes to in Kafka."""

    results: str
    rejected: str
    """Dead letters."""
    progress: str
    """Compacted; shared by all runs that answer to the same topic, by their ids."""

    @classmethod
    def beside(cls, results: str) -> RunTopics:
        """Those of runs that answer to this topic."""
        return cls(results, f"{results}.rejected", f"{results}.replays")

    def specs(self) -> tuple[TopicSpec, ...]:
        """What has to be created."""
        compacted = TopicSpec(self.progress, 1, {"cleanup.policy": "compact"})
        return TopicSpec(self.results), TopicSpec(self.rejected), compacted


class Store(Protocol):
    """Keeps the answers of one run. Its methods block, and are called from one thread."""

    def open(self, partitions: Sequence[Partition]) -> Mapping[Partition, Committed]:
        """Begin, or go on: the progress that is kept, after what an earlier life left half written is taken away.

        Raises:
            UnavailableError: no broker answers.
            ConfigurationError: the place cannot be written to.
        """

    def write(self, records: Sequence[OutgoingRecord], progress: Mapping[Partition, Committed]) -> None:
        """Keep answers (of topic ``results``) and refused events (of topic ``rejected``) with the progress.

        Raises:
            UnavailableError: it may be written or not: ask :meth:`open`.
            StorageFullError: nothing is written.
        """

    def close(self) -> None:
        """Let go of it."""


class TopicStore:
    """Answers go to a topic, what was refused to another, and progress to a compacted third, in one transaction.

    Args:
        kafka: The cluster.
        run: The run's id: it names the transactions, so a later life of the run fences an earlier one.
        topics: The three, which must be there.
    """

    def __init__(self, kafka: KafkaSettings | str, run: str, topics: RunTopics) -> None:
        self._kafka = kafka
        self._run = run
        self._topics = topics
        self._writer = TransactionalWriter(kafka, f"headrace-replay.{run}")
        self._progress: dict[Partition, Committed] = {}

    def open(self, partitions: Sequence[Partition]) -> Mapping[Partition, Committed]:  # noqa: ARG002  # the Protocol's form
        """Begin, after an earlier life's transaction is at an end."""
        self._writer.open()
        with Scanner(self._kafka) as scanner:
            for record in scanner.topic(self._topics.progress):
                if record.key == self._run.encode() and record.value:
                    self._progress = load_progress(orjson.loads(record.value))
        return dict(self._progress)

    def write(self, records: Sequence[OutgoingRecord], progress: Mapping[Partition, Committed]) -> None:
        """One transaction."""
        reached = self._progress | dict(progress)
        names = {RESULTS: self._topics.results, REJECTED: self._topics.rejected}
        kept = OutgoingRecord(self._topics.progress, self._run.encode(), orjson.dumps(dump_progress(reached)))
        self._writer.write([*(replace(record, topic=names[record.topic]) for record in records), kept], {})
        self._progress = reached

    def close(self) -> None:
        """Close the producer."""
        self._writer.close()


class FileStore:
    """Answers go to a JSON Lines file, what was refused to another beside it; progress stands in a third.

    The progress names how long the other two are: what lies behind that was written by a life that died before it
    could say so, and is cut off.

    Args:
        results: File of answers, one CloudEvent a line; None keeps none.
        rejected: File of dead letters, the same.
        progress: File of the run's progress.
    """

    def __init__(self, results: Path | None, rejected: Path, progress: Path) -> None:
        self._paths = {RESULTS: results, REJECTED: rejected}
        self._checkpoint = progress
        self._files: dict[str, IO[bytes]] = {}
        self._progress: dict[Partition, Committed] = {}

    def open(self, partitions: Sequence[Partition]) -> Mapping[Partition, Committed]:  # noqa: ARG002  # the Protocol's form
        """Read the progress, and cut the files to it."""
        lengths = self._restore()
        self.close()
        for name, path in self._paths.items():
            if path is not None:
                self._files[name] = _open(path, lengths.get(name, 0))
        return dict(self._progress)

    def write(self, records: Sequence[OutgoingRecord], progress: Mapping[Partition, Committed]) -> None:
        """The lines first, on the disk; then the progress that makes them count, in one rename."""
        try:
            for record in records:
                if file := self._files.get(record.topic):
                    file.write(_line(record))
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            self._save(self._progress | dict(progress))
        except OSError as fault:
            raise StorageFullError(
                f"Cannot write to {self._checkpoint.parent}: {fault.strerror}", hint="make room, and resume the run"
            ) from fault
        self._progress |= progress

    def close(self) -> None:
        """Close the files."""
        while self._files:
            with suppress(OSError):
                self._files.popitem()[1].close()

    def _restore(self) -> dict[str, int]:
        if not self._checkpoint.exists():
            return {}
        kept = orjson.loads(self._checkpoint.read_bytes())
        self._progress = load_progress(kept["progress"])
        lengths: dict[str, int] = kept["lengths"]
        return lengths

    def _save(self, progress: Mapping[Partition, Committed]) -> None:
        kept = {
            "progress": dump_progress(progress),
            "lengths": {name: file.tell() for name, file in self._files.items()},
        }
        write_whole(self._checkpoint, orjson.dumps(kept))


def dump_progress(progress: Mapping[Partition, Committed]) -> list[list[str | int]]:
    """The progress in JSON's types."""
    return [[*partition, committed.offset, committed.metadata] for partition, committed in progress.items()]


def load_progress(kept: list[list[Any]]) -> dict[Partition, Committed]:
    """What :func:`dump_progress` made it of."""
    return {Partition(topic, number): Committed(offset, more) for topic, number, offset, more in kept}


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that a reader finds the old content or the new one, also after a crash.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f"{path.name}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _open(path: Path, length: int) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("r+b" if length else "wb")
        file.truncate(length)
        file.seek(length)
    except OSError as fault:
        raise ConfigurationError(f"Cannot write to {path}: {fault.strerror}") from fault
    return file


def _line(record: OutgoingRecord) -> bytes:
    here = Record(Partition(record.topic, 0), 0, -1, record.key, record.value, record.headers)
    return json_format.dump_event(plain(read_record(here, namespace="", name=""))) + b"\n"
