"""Answers by the event that they answer, in a form that can be compared."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import HeadraceError
from headrace.eventing.codec import json_format
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.publish import events_of
from headrace.eventing.replay.log import ELAPSED
from headrace.eventing.results import is_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.settings import KafkaSettings


class Media(Enum):
    """How an answer's data are read."""

    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"

    @classmethod
    def of(cls, event: CloudEvent) -> Media:
        """By the event's media type."""
        if json_format.is_json(event.content_type):
            return cls.JSON
        return cls.TEXT if (event.content_type or "").startswith("text/") else cls.BYTES

    def read(self, data: bytes) -> Any:
        """The value; bytes where they are not what the media type says."""
        if self is Media.TEXT:
            return data.decode(errors="replace")
        if self is Media.JSON:
            with suppress(orjson.JSONDecodeError):
                return orjson.loads(data)
        return data


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered to one event."""

    request: str
    """Id of the event."""
    value: Any
    """JSON's types for JSON, text for text, else bytes; of an error its problem object."""
    failed: bool = False
    elapsed: float | None = None
    """Milliseconds; None where nobody measured."""
    trace: str = ""
    """Trace id; empty for none."""
    finished: float | None = None
    """When it was made, in seconds since the epoch; None where it does not say."""


def answers_of_file(path: Path) -> Iterator[CloudEvent]:
    """The answers of a JSON Lines file, as a replay leaves it.

    Raises:
        ConfigurationError: it cannot be read, or a line is no CloudEvent.
    """
    return events_of(path)


def answers_of_topic(kafka: KafkaSettings | str, topic: str) -> Iterator[CloudEvent]:
    """The committed answers of a topic; records that are no CloudEvents are passed over.

    Raises:
        ConfigurationError: there is no such topic.
        UnavailableError: no broker answers.
    """
    for record in read_topic(kafka, topic):
        if record is not None:
            try:
                yield read_record(record, namespace="", name="")
            except HeadraceError:
                continue


def read_answer(event: CloudEvent) -> Answer:
    """The answer that an event is."""
    elapsed = event.get(ELAPSED)
    return Answer(
        event.get("causationid"),
        Media.of(event).read(event.data or b""),
        is_error(event),
        float(elapsed) if elapsed.replace(".", "", 1).isdecimal() else None,
        event.get("traceparent").partition("-")[2].partition("-")[0],
        _seconds(event.get("time")),
    )


def _seconds(time: str) -> float | None:
    try:
        # Before Python 3.11, fromisoformat does not read the Z.
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", time)).timestamp()
    except ValueError:
        return None
