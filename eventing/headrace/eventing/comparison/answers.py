"""Answers by the event that they answer, in a form that can be compared."""

from __future__ import annotations

from dataclasses import dataclass
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
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.settings import KafkaSettings


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
    subject: str = ""


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


def by_request(events: Iterable[CloudEvent], run: str | None = None) -> dict[str, Answer]:
    """The last answer to each event.

    Args:
        events: Answers; what answers nothing is passed over.
        run: Only those of this replay; None for all.
    """
    chosen = (event for event in events if event.get("causationid") and (run is None or event.get("hrreplay") == run))
    return {answer.request: answer for answer in map(read_answer, chosen)}


def read_answer(event: CloudEvent) -> Answer:
    """The answer that an event is."""
    elapsed = event.get(ELAPSED)
    return Answer(
        event.get("causationid"),
        _value(event),
        is_error(event),
        float(elapsed) if elapsed.replace(".", "", 1).isdecimal() else None,
        event.get("traceparent").partition("-")[2].partition("-")[0],
        event.get("subject"),
    )


def _value(event: CloudEvent) -> Any:
    data = event.data or b""
    if json_format.is_json(event.content_type):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            return data
    if (event.content_type or "").startswith("text/"):
        return data.decode(errors="replace")
    return data
