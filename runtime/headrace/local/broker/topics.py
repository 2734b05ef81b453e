"""The catalogue of topics: durable in one small file that is replaced whole; owns the partitions' logs."""

from __future__ import annotations

import re
import shutil
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from headrace.errors import ConfigurationError
from headrace.local.broker import configs
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.configs import LogConfig
from headrace.local.broker.disk import replace
from headrace.local.broker.log import PartitionLog
from headrace.local.broker.recovery import no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from headrace.local.broker.settings import BrokerSettings

_Stored = tuple[str, int, dict[str, str]]
"""Name, number of partitions and configs of a topic."""
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")
_FORMAT = 2
"""Of the whole data folder: a later version that cannot be read back raises it."""
_READABLE = {1, _FORMAT}
"""Format 1 had one file a partition; each is moved into its folder when it is opened."""
MAX_PARTITIONS = 10_000
"""Partitions of one topic: each is an open file."""


@dataclass(slots=True)
class Topic:
    """One topic."""

    name: str
    configs: dict[str, str]
    """What a client has set; everything else has its default."""
    limits: LogConfig
    """What the configs, and the broker's defaults, mean to the logs."""
    partitions: list[PartitionLog] = field(default_factory=list)


class Catalogue:
    """Every topic of a broker.

    Args:
        data: The broker's data folder.
        settings: Defaults of new topics.
        checkpoint: See :class:`PartitionLog`.

    Raises:
        ConfigurationError: the folder holds a catalogue that cannot be read, or the broker's defaults are wrong.
    """

    def __init__(self, data: Path, settings: BrokerSettings, checkpoint: Callable[[str], None] = no_checkpoint) -> None:
        self._checkpoint = checkpoint
        self._path = data / "topics.json"
        self._logs = data / "topics"
        self._settings = settings
        self._topics: dict[str, Topic] = {}
        self.cluster_id = ""
        try:
            configs.check(settings.broker_defaults)
        except Refusal as refusal:
            raise ConfigurationError(
                f"The broker's default topic configs are wrong: {refusal}", hint="see docs/broker.md"
            ) from refusal
        self._load()

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def get(self, name: str) -> Topic | None:
        """The topic, or None."""
        return self._topics.get(name)

    def log(self, topic: str, partition: int) -> PartitionLog:
        """The log of a partition.

        Raises:
            Refusal: there is none.
        """
        known = self._topics.get(topic)
        if known is None or not 0 <= partition < len(known.partitions):
            raise Refusal(Code.UNKNOWN_TOPIC_OR_PARTITION)
        return known.partitions[partition]

    def check_new(self, name: str, partitions: int, topic_configs: Mapping[str, str]) -> None:
        """Check whether a topic could be made.

        Raises:
            Refusal: it is there already, or its name, number of partitions or a config is not allowed.
        """
        if not _NAME.match(name) or name in {".", ".."}:
            raise Refusal(Code.INVALID_TOPIC, f"A topic name has 1 to 249 of a-z A-Z 0-9 . _ -, not {name!r}")
        if name in self._topics:
            raise Refusal(Code.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists")
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise Refusal(Code.INVALID_PARTITIONS, f"A topic has 1 to {MAX_PARTITIONS} partitions, not {partitions}")
        configs.check(topic_configs)

    def create(self, name: str, partitions: int, topic_configs: Mapping[str, str]) -> Topic:
        """Make a topic; it is durable when this returns.

        Raises:
            Refusal: as :meth:`check_new`, or the disk is full.
        """
        self.check_new(name, partitions, topic_configs)
        # What a crash in the middle of a deletion left must not come back to life.
        shutil.rmtree(self._logs / name, ignore_errors=True)
        topic = self._topic(name, topic_configs)
        self._topics[name] = topic
        try:
            self._open(topic, partitions)
            self._save()
        except (OSError, Refusal) as fault:
            self._close(self._topics.pop(name))
            raise Refusal(Code.KAFKA_STORAGE_ERROR, f"Topic '{name}' cannot be made: {fault}") from fault
        return topic

    def found_or_created(self, name: str) -> Topic | None:
        """The topic, made with the defaults where it is missing and the settings allow that; else None.

        Raises:
            Refusal: the name is not allowed, or the disk is full.
        """
        known = self._topics.get(name)
        if known is None and self._settings.auto_create_topics:
            known = self.create(name, self._settings.default_partitions, {})
        return known

    def grow(self, name: str, partitions: int, *, dry: bool = False) -> None:
        """Give a topic more partitions.

        Raises:
            Refusal: it is not there, has as many already, or the disk is full.
        """
        topic = self._known(name)
        current = len(topic.partitions)
        if not current < partitions <= MAX_PARTITIONS:
            raise Refusal(
                Code.INVALID_PARTITIONS, f"Topic '{name}' has {current} partitions, {partitions} is no larger number"
            )
        if dry:
            return
        try:
            self._open(topic, partitions)
            self._save()
        except OSError as fault:
            for log in topic.partitions[current:]:
                log.close()
            del topic.partitions[current:]
            raise Refusal(Code.KAFKA_STORAGE_ERROR, f"Topic '{name}' cannot grow: {fault}") from fault

    def configure(self, name: str, topic_configs: Mapping[str, str], *, dry: bool = False) -> None:
        """Replace what is set of a topic's configs.

        Raises:
            Refusal: it is not there, a config is not allowed, or the disk is full.
        """
        topic = self._known(name)
        configs.check(topic_configs)
        if dry:
            return
        before = topic.configs
        topic.configs = dict(topic_configs)
        try:
            self._save()
        except Refusal:
            topic.configs = before
            raise
        topic.limits = self._limits(topic_configs)
        for log in topic.partitions:
            log.config = topic.limits

    def delete(self, name: str) -> None:
        """Remove a topic and its records.

        Raises:
            Refusal: it is not there, or the disk fails.
        """
        topic = self._known(name)
        del self._topics[name]
        try:
            self._save()
        except Refusal:
            self._topics[name] = topic
            raise
        self._close(topic)
        shutil.rmtree(self._logs / name, ignore_errors=True)

    def close(self) -> None:
        """Close every log."""
        for topic in self._topics.values():
            self._close(topic)

    def _known(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise Refusal(Code.UNKNOWN_TOPIC_OR_PARTITION, f"There is no topic '{name}'")
        return topic

    def _topic(self, name: str, topic_configs: Mapping[str, str]) -> Topic:
        return Topic(name, dict(topic_configs), self._limits(topic_configs))

    def _limits(self, topic_configs: Mapping[str, str]) -> LogConfig:
        return LogConfig.of({**self._settings.broker_defaults, **topic_configs})

    def _open(self, topic: Topic, partitions: int) -> None:
        for index in range(len(topic.partitions), partitions):
            folder = self._logs / topic.name / str(index)
            topic.partitions.append(
                PartitionLog(folder, topic.limits, flush=self._settings.syncs_each, checkpoint=self._checkpoint)
            )

    @staticmethod
    def _close(topic: Topic) -> None:
        for log in topic.partitions:
            log.close()

    def _load(self) -> None:
        try:
            written, self.cluster_id, topics = _parse(self._path.read_bytes())
        except FileNotFoundError:
            self.cluster_id = uuid.uuid4().hex[:22]
            self._save()
            return
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise ConfigurationError(
                f"The broker's catalogue {self._path} cannot be read: {fault}",
                hint="put a copy back, or name another folder with --data",
            ) from fault
        if written != _FORMAT:
            # First of all: an older version would find empty topics behind this.
            self._write(topics)
        for name, partitions, topic_configs in topics:
            topic = self._topics[name] = self._topic(name, topic_configs)
            self._open(topic, partitions)

    def _save(self) -> None:
        self._write([(topic.name, len(topic.partitions), topic.configs) for topic in self._topics.values()])

    def _write(self, topics: Iterable[_Stored]) -> None:
        listed = {name: {"partitions": partitions, "configs": one} for name, partitions, one in topics}
        try:
            replace(self._path, orjson.dumps({"format": _FORMAT, "cluster": self.cluster_id, "topics": listed}))
        except OSError as fault:
            raise Refusal(Code.KAFKA_STORAGE_ERROR, f"{self._path}: {fault.strerror}") from fault


def _parse(content: bytes) -> tuple[int, str, list[_Stored]]:
    """The format, the cluster's id, and the topics."""
    stored = orjson.loads(content)
    if stored["format"] not in _READABLE:
        raise ValueError(f"it has format {stored['format']}, this version reads {_FORMAT} and below")
    topics = [(name, one["partitions"], one["configs"]) for name, one in stored["topics"].items()]
    return stored["format"], stored["cluster"], topics
