"""A dead letter, as a value: what it says of itself, and the event that it was (event contract, section 5)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import InvalidEventError
from headrace.eventing.codec.kafka import WRAPPED_TYPE, read_record, wrap_record, write_record
from headrace.eventing.deadletter import FAILURE_ATTRIBUTES, is_foreign
from headrace.eventing.event import CloudEvent
from headrace.eventing.log import OutgoingRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from headrace.eventing.log import Record

RUN = "hrredrive"
"""Attribute of an event that was sent back: the id of the run that did."""
REDRIVES = "hrredrives"
"""Attribute: how often the event was sent back; above one, it goes round in a loop."""
_PLACE = ("knativekafkapartition", "knativekafkaoffset")
_CLAIM = "kafkaheadercontenttype"
_CLAIMED_ATTRIBUTE = "kafkaheaderce"


class Place(NamedTuple):
    """Where a letter lies in its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of a dead-letter topic."""

    record: Record
    event: CloudEvent
    """The letter: the original's attributes, and those of the failure."""

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.record.partition.number, self.record.offset)

    @property
    def written(self) -> datetime | None:
        """When it was written; None where the record has no time."""
        if self.record.timestamp < 0:
            return None
        return datetime.fromtimestamp(self.record.timestamp / 1000, timezone.utc)

    @property
    def reason(self) -> str:
        """Why, in one word; empty in letters of Knative's."""
        return self.event.get("hrreason")

    @property
    def status(self) -> str:
        """The last HTTP status; empty where nothing answered."""
        return self.event.get("knativeerrorcode")

    @property
    def attempts(self) -> str:
        """How often the event was tried; empty where the letter does not say."""
        return self.event.get("hrattempts")

    @property
    def topic(self) -> str:
        """The topic that the event came from; empty where the letter does not say."""
        return self.event.get("hrtopic")

    @property
    def redrives(self) -> int:
        """How often the event had been sent back before this letter was written."""
        # An event that is no CloudEvent is wrapped once more each time: its attribute is a foreign header then.
        told = self.event.get(REDRIVES) or self.event.get(_CLAIMED_ATTRIBUTE + REDRIVES)
        return int(told) if told.isdecimal() else 0

    @property
    def error(self) -> str:
        """What the receiver said, as text: up to 1,024 bytes of it."""
        try:
            return base64.b64decode(self.event.get("knativeerrordata")).decode(errors="replace")
        except (binascii.Error, ValueError):
            return self.event.get("knativeerrordata")

    @property
    def fingerprint(self) -> str:
        """Tells this letter from another that lies at the same place once the topic was made anew."""
        parts = (str(self.record.timestamp), self.event.source, self.event.id)
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_letter(record: Record) -> DeadLetter:
    """The letter of a record, whatever it holds: what is no CloudEvent is wrapped as the dispatcher wraps it."""
    try:
        return DeadLetter(record, read_record(record, namespace="", name=""))
    except InvalidEventError:
        return DeadLetter(record, wrap_record(record, namespace="", name=""))


def original_event(letter: DeadLetter, *, run: str) -> CloudEvent:
    """The event as it was before it failed, marked with the run that sends it back and the count of such runs."""
    kept = {
        name: value
        for name, value in letter.event.attributes.items()
        if name not in FAILURE_ATTRIBUTES and name not in _PLACE
    }
    return CloudEvent(MappingProxyType({**kept, RUN: run, REDRIVES: str(letter.redrives + 1)}), letter.event.data)


def original_record(letter: DeadLetter, topic: str, *, run: str, trace: Mapping[str, str]) -> OutgoingRecord:
    """The record that brings the event back: its data, key and headers of the original, and the current trace.

    A record that claimed to be a CloudEvent and was not gets its claim back: whoever reads it must come to the same
    judgement, and not take it for a sound event of another type.

    Args:
        letter: The letter.
        topic: Where it goes.
        run: Id of the run.
        trace: ``traceparent`` and friends of the span that sends it.
    """
    event = original_event(letter, run=run)
    foreign = tuple((name, value) for name, value in letter.record.headers if value is not None and is_foreign(name))
    if letter.reason == "invalid" and event.type == WRAPPED_TYPE:
        claims = _claims(event, {name for name, _ in foreign})
        headers = tuple((name, value.encode()) for name, value in (claims | dict(trace)).items())
        return OutgoingRecord(topic, letter.record.key, event.data, headers + foreign)
    written = write_record(event, topic, trace=trace)
    return OutgoingRecord(topic, letter.record.key, written.value, written.headers + foreign)


def _claims(event: CloudEvent, foreign: Collection[str]) -> dict[str, str]:
    """The headers of a false CloudEvent, from what its wrapping kept of them; names come back in lower case."""
    others = {f"kafkaheader{re.sub('[^a-z0-9]', '', name.lower())}" for name in foreign}
    claimed = {
        f"ce_{name.removeprefix(_CLAIMED_ATTRIBUTE)}": value
        for name, value in event.attributes.items()
        if name.startswith(_CLAIMED_ATTRIBUTE) and name not in others
    }
    claimed |= {f"ce_{name}": event.attributes[name] for name in (RUN, REDRIVES)}
    content_type = event.get(_CLAIM) or event.get("datacontenttype")
    return {**claimed, "content-type": content_type} if content_type else claimed
