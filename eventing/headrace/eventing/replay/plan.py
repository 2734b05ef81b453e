"""A run as it was ordered: kept in a folder of its own, so that it can be taken up again after anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import ConfigurationError
from headrace.eventing.log import Partition
from headrace.eventing.replay.choice import Choice
from headrace.eventing.replay.files import source_of
from headrace.eventing.replay.pace import AsItComes, FixedRate, OriginalTiming
from headrace.eventing.replay.places.place import place_of
from headrace.eventing.replay.source import TopicRange
from headrace.eventing.replay.store import FileStore, RunTopics, TopicStore, write_whole

if TYPE_CHECKING:
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.replay.pace import Pace
    from headrace.eventing.replay.source import Source
    from headrace.eventing.replay.store import Store

RIVAL = "-against"
"""What the id of a rival's run ends with."""
ANSWERS = "answers.jsonl"
"""In a run's folder, its answers where the user names no place for them and they are to be compared."""
RIVAL_ANSWERS = "against.jsonl"
"""In a run's folder, the answers of its rival."""


@dataclass(frozen=True, slots=True)
class Range:
    """A part of one partition."""

    topic: str
    number: int
    begin: int
    end: int
    """The offset behind the last."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is started for the run alone."""

    predictor: str
    """``MODULE:CLASS``."""
    uri: str = ""
    """Where its files are; empty for none."""
    transformer: str = ""
    """``MODULE:CLASS`` of what stands before it; empty for none."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that its process has beside those of the replay's own."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Who answers the same events once more, to be compared with."""

    name: str
    """As the user called it."""
    target: str = ""
    """URL; empty where ``served`` says who answers."""
    served: ServedModel | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does; it never changes once the run has begun."""

    run: str
    target: str
    """URL that the events are posted to; empty where ``served`` says who answers."""
    served: ServedModel | None = None
    ranges: tuple[Range, ...] = ()
    """What of a topic is replayed; empty for a recording."""
    compacted: bool = False
    """Whether the topic keeps only the last record of each key."""
    recording: str = ""
    """A file of CloudEvents, or a folder of files: its path or ``s3://`` address."""
    version: str = ""
    """What that file was when the run began; empty for no matter."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Of the events of a folder's files."""
    end: int | None = None
    """Of a recording, the line behind the last; None for all."""
    filter: str = ""
    """CESQL."""
    share: float = 1.0
    rate: float = 0.0
    """Events a second; 0 for as fast as it goes."""
    speed: float = 0.0
    """Times as fast as the events were published; 0 for no regard to that."""
    results_topic: str = ""
    results_file: str = ""
    """Neither for answers that are counted and dropped."""
    ordering: str = "none"
    concurrency: int = 16
    batch: int = 0
    """Most events in one request; 0 for each in its own."""
    timeout: float = 60.0
    """Seconds for one answer."""
    attempts: int = 5
    identity: tuple[str, str, str, str] = ("", "replay", "replay", "")
    """Namespace, app, model and version, for answers that the receiver does not name itself."""
    rival: Rival | None = None
    """Who else answers, after this run."""
    strict: bool = False
    """End with the first event that fails for good."""
    started: str = field(default="")
    """RFC 3339."""

    def of_rival(self, folder: Path) -> Plan:
        """The same events to the rival; its answers are kept in the run's folder."""
        assert self.rival is not None
        return replace(
            self,
            run=f"{self.run}{RIVAL}",
            target=self.rival.target,
            served=self.rival.served,
            results_topic="",
            results_file=str(folder / RIVAL_ANSWERS),
            rival=None,
            strict=False,
        )

    def choice(self) -> Choice:
        """Which events."""
        from headrace.eventing.filters import compile_filters  # noqa: PLC0415  # brings the grammar: only where asked

        return Choice(compile_filters([{"cesql": self.filter}]) if self.filter else None, self.share)

    def pace(self) -> Pace:
        """How fast."""
        if self.speed:
            return OriginalTiming(self.speed)
        return FixedRate(self.rate) if self.rate else AsItComes()

    def source(self, kafka: KafkaSettings | str) -> Source:
        """What is replayed.

        Raises:
            ConfigurationError: the file is not there, or no more what it was.
            UnavailableError: its store does not answer.
        """
        if self.recording:
            place = place_of(self.recording)
            if self.version and place.version() != self.version:
                raise ConfigurationError(f"{self.recording} has changed since the run began", hint="begin a new run")
            return source_of(place, attributes=dict(self.attributes), end=self.end)
        begins = {Partition(part.topic, part.number): part.begin for part in self.ranges}
        ends = {Partition(part.topic, part.number): part.end for part in self.ranges}
        return TopicRange(kafka, begins, ends, by_time=bool(self.speed))

    def store(self, folder: Path, kafka: KafkaSettings | str) -> Store:
        """Where answers and progress go."""
        if self.results_topic:
            return TopicStore(kafka, self.run, RunTopics.beside(self.results_topic))
        results = Path(self.results_file) if self.results_file else None
        return FileStore(results, folder / "rejected.jsonl", folder / "progress.json")


def _served(kept: dict[str, Any] | None) -> ServedModel | None:
    if kept is None:
        return None
    environment = tuple((name, value) for name, value in kept.pop("environment", ()))
    return ServedModel(**kept, environment=environment)


class Runs:
    """The folder of all runs, one folder each.

    Args:
        path: It is made when the first run is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def folder(self, run: str) -> Path:
        """Where a run keeps what it knows."""
        return self._path / run

    def keep(self, plan: Plan) -> None:
        """Keep a new run.

        Raises:
            ConfigurationError: the folder cannot be written to.
        """
        folder = self.folder(plan.run)
        try:
            folder.mkdir(parents=True)
            write_whole(folder / "plan.json", orjson.dumps(asdict(plan), option=orjson.OPT_INDENT_2))
        except OSError as fault:
            raise ConfigurationError(f"Cannot keep the run in {folder}: {fault.strerror}") from fault

    def find(self, run: str) -> Plan:
        """A run that was begun earlier.

        Raises:
            ConfigurationError: there is none of that id; the message names those that there are.
        """
        try:
            kept: dict[str, Any] = orjson.loads((self.folder(run) / "plan.json").read_bytes())
        except OSError:
            known = ", ".join(self.names()) or "none"
            raise ConfigurationError(f"There is no run {run!r} in {self._path}", hint=f"there is {known}") from None
        ranges = tuple(Range(**part) for part in kept.pop("ranges"))
        identity = tuple(kept.pop("identity"))
        attributes = tuple((name, text) for name, text in kept.pop("attributes"))
        served, rival = _served(kept.pop("served")), kept.pop("rival", None)
        if rival:
            rival = Rival(**{**rival, "served": _served(rival["served"])})
        return Plan(**kept, ranges=ranges, identity=identity, served=served, attributes=attributes, rival=rival)

    def names(self) -> list[str]:
        """The ids of all runs."""
        return sorted(file.parent.name for file in self._path.glob("*/plan.json"))
