"""From what a user asks of a topic to offsets: by time, by offset, up to a group's position or a number of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.topics import is_compacted, offsets_at
from headrace.eventing.log import Partition
from headrace.eventing.replay.plan import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Record
    from headrace.eventing.replay.choice import Choice


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a topic; all of it where nothing is said."""

    topic: str
    since: datetime | None = None
    """Records of this time or later."""
    until: datetime | None = None
    """Records from before this time."""
    offsets: Mapping[int, tuple[int, int | None]] = field(default_factory=dict)
    """By partition, the first offset and the one behind the last; partitions that are not named are left out. Empty
    for all partitions."""
    group: str | None = None
    """Only what this consumer group has done."""


@dataclass(frozen=True, slots=True)
class Found:
    """What of it there is."""

    ranges: tuple[Range, ...]
    missing: tuple[str, ...] = ()
    """What was asked for and is there no more, one sentence each."""
    compacted: bool = False
    """Whether the topic keeps only the last record of each key."""

    @property
    def records(self) -> int:
        """How many offsets the ranges span: at least as many as there are records."""
        return sum(part.end - part.begin for part in self.ranges)


def find_ranges(kafka: KafkaSettings | str, wanted: Wanted) -> Found:
    """The offsets that are there now.

    Raises:
        ConfigurationError: there is no such topic or partition.
        UnavailableError: no broker answers.
    """
    with Scanner(kafka, group=wanted.group) as scanner:
        first, last = scanner.begins(wanted.topic), scanner.ends(wanted.topic)
        begins, ends = dict(first), dict(last)
        missing: tuple[str, ...] = ()
        if wanted.since:
            begins = _at(kafka, wanted.since, last)
            missing = tuple(_expired(scanner, wanted.since, begins, first))
        if wanted.until:
            ends = _at(kafka, wanted.until, last)
        if wanted.group:
            known = scanner.committed(wanted.topic)
            ends = {p: min(end, done.offset if (done := known[p]) else 0) for p, end in ends.items()}
    if wanted.offsets:
        begins, ends = _between(wanted, begins, ends)
    missing += tuple(_missing(partition, begins[partition], first[partition]) for partition in sorted(begins))
    ranges = tuple(
        Range(*partition, begin, max(begin, ends[partition]))
        for partition, begin in sorted((p, max(begin, first[p])) for p, begin in begins.items())
    )
    compacted = is_compacted(kafka, wanted.topic)
    if compacted:
        missing = (*missing, f"{wanted.topic} is compacted: of each key perhaps only the last record is left")
    return Found(ranges, tuple(filter(None, missing)), compacted)


def limited(kafka: KafkaSettings | str, found: Found, choice: Choice, limit: int) -> Found:
    """The ranges cut behind the ``limit``-th event of the choice: so the run has an end that never moves.

    Raises:
        UnavailableError: the broker stopped answering.
    """
    begins = {Partition(part.topic, part.number): part.begin for part in found.ranges}
    ends = {Partition(part.topic, part.number): part.end for part in found.ranges}
    with Scanner(kafka) as scanner:
        reached = dict(begins)
        for record in first_chosen(scanner.read(begins, ends), choice, limit):
            reached[record.partition] = record.offset + 1
    return Found(tuple(Range(*p, begin, reached[p]) for p, begin in begins.items()), found.missing, found.compacted)


def first_chosen(records: Iterable[Record], choice: Choice, limit: int) -> Iterator[Record]:
    """The first ``limit`` records of the choice."""
    taken = 0
    for record in records:
        if choice.takes(record):
            yield record
            taken += 1
            if taken >= limit:
                return


def _at(kafka: KafkaSettings | str, moment: datetime, ends: Mapping[Partition, int]) -> dict[Partition, int]:
    """By partition, the first offset of that time or later; the end where there is none."""
    return {**ends, **offsets_at(kafka, ends, int(moment.timestamp() * 1000))}


def _between(
    wanted: Wanted, begins: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> tuple[dict[Partition, int], dict[Partition, int]]:
    chosen: dict[Partition, tuple[int, int | None]] = {}
    for number, part in wanted.offsets.items():
        partition = Partition(wanted.topic, number)
        if partition not in ends:
            known = ", ".join(str(p.number) for p in sorted(ends))
            raise ConfigurationError(f"{wanted.topic} has no partition {number}", hint=f"it has {known}")
        chosen[partition] = part
    # A given begin may lie before what is there: that is said, and not passed over. A given end cannot lie behind it.
    starts = {p: begin if not wanted.since else max(begin, begins[p]) for p, (begin, _) in chosen.items()}
    stops = {p: ends[p] if end is None else min(end, ends[p]) for p, (_, end) in chosen.items()}
    return starts, stops


def _expired(
    scanner: Scanner, since: datetime, begins: Mapping[Partition, int], first: Mapping[Partition, int]
) -> Iterator[str]:
    """Where the first record that is there is younger than what was asked for, and others were before it."""
    for partition in sorted(begins):
        begin = first[partition]
        if not 0 < begin == begins[partition]:
            continue
        oldest = next(scanner.read({partition: begin}, {partition: begin + 1}), None)
        if oldest is not None and oldest.timestamp > since.timestamp() * 1000:
            moment = datetime.fromtimestamp(oldest.timestamp / 1000, timezone.utc).isoformat(timespec="seconds")
            yield (
                f"{partition.topic}/{partition.number}: the oldest record is of {moment}; what was there before, up to "
                f"offset {begin - 1}, is gone: retention has removed it"
            )


def _missing(partition: Partition, asked: int, first: int) -> str:
    if asked >= first:
        return ""
    return f"{partition.topic}/{partition.number}: offsets {asked} to {first - 1} are gone: retention has removed them"
