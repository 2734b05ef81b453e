"""Which letters are done with: marks in a compacted topic beside the letters (decision 0017).

A mark is written in the same transaction as the event that it tells of. So whoever reads the marks after having opened
that transaction's producer, which ends what an earlier life left open, knows exactly what was sent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import orjson

from headrace.eventing.deadletters.letter import Place
from headrace.eventing.kafka.topics import TopicSpec
from headrace.eventing.log import OutgoingRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headrace.eventing.deadletters.letter import DeadLetter
    from headrace.eventing.kafka.scan import Scanner
    from headrace.eventing.log import Record

Action = Literal["redriven", "dropped"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What was done with one letter."""

    action: Action
    run: str
    """Id of the run that did it."""
    at: str
    """When, RFC 3339."""
    to: str
    """The topic that the event was sent to; empty for a dropped one."""
    letter: str
    """The letter's fingerprint: a mark counts for no other letter at its place."""


def marks_topic(letters: str) -> TopicSpec:
    """The topic of marks of a dead-letter topic: one partition, the last mark of each letter kept for ever."""
    return TopicSpec(f"{letters}.handled", 1, {"cleanup.policy": "compact"})


def mark_record(letters: str, place: Place, mark: Mark) -> OutgoingRecord:
    """The record of a mark; of several about one letter the last counts."""
    return OutgoingRecord(marks_topic(letters).name, str(place).encode(), orjson.dumps(asdict(mark)))


def tombstone(letters: str, place: Place) -> OutgoingRecord:
    """The record that forgets a mark, once its letter is gone from Kafka."""
    return OutgoingRecord(marks_topic(letters).name, str(place).encode(), None)


class Handled:
    """The marks of a dead-letter topic; about 250 bytes a mark in memory.

    Args:
        marks: By place, the last mark.
    """

    def __init__(self, marks: Mapping[Place, Mark] | None = None) -> None:
        self._marks = dict(marks or {})

    def of(self, letter: DeadLetter) -> Mark | None:
        """What was done with the letter; None for one that waits."""
        mark = self._marks.get(letter.place)
        return mark if mark and mark.letter == letter.fingerprint else None

    def before(self, begins: Mapping[int, int]) -> list[Place]:
        """The places of marks whose letters are gone: ``begins`` has the first offset that is there, by partition."""
        return [place for place in self._marks if place.offset < begins.get(place.partition, 0)]


def read_handled(scanner: Scanner, letters: str) -> Handled:
    """The marks as they are committed now; none where the topic of marks does not exist yet.

    Raises:
        UnavailableError: the broker stopped answering.
    """
    topic = marks_topic(letters).name
    return Handled(_last(scanner.topic(topic)) if scanner.has(topic) else {})


def _last(records: Iterable[Record]) -> dict[Place, Mark]:
    marks: dict[Place, Mark] = {}
    for record in records:
        try:
            partition, _, offset = (record.key or b"").decode().partition("/")
            place = Place(int(partition), int(offset))
            if record.value is None:
                marks.pop(place, None)
            else:
                marks[place] = Mark(**orjson.loads(record.value))
        except (ValueError, TypeError):
            continue  # no mark: somebody else's record in this topic
    return marks
