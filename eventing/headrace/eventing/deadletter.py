"""Dead letters: the event that had no answer, with why (event contract, section 5)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from headrace.eventing.codec.kafka import TRACE_HEADERS, write_record
from headrace.eventing.log import OutgoingRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.log import Record

Reason = Literal["invalid", "rejected", "exhausted", "expired", "crashed"]
MOST_ERROR_DATA = 1024
"""Bytes of the receiver's answer that ``knativeerrordata`` keeps, before base64; Knative's number."""
FAILURE_ATTRIBUTES = frozenset(
    {
        "knativeerrordest", "knativeerrorcode", "knativeerrordata", "hrreason", "hrattempts", "hrfirstattempt",
        "hrlastattempt", "hrtopic", "hrpartition", "hroffset",
    }
)  # fmt: skip
"""What a dead letter says of the failure; every other attribute is the original event's."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event was given up."""

    reason: Reason
    detail: str
    """In words, for people."""
    destination: str = ""
    """URL that was called; empty when none was."""
    status: int | None = None
    """The last HTTP status; None when nothing answered."""
    body: bytes = b""
    attempts: int = 0
    first: float = 0.0
    """Seconds since the epoch of the first failed attempt."""
    last: float = 0.0
    """Seconds since the epoch of the last one."""


def dead_letter(
    record: Record, event: CloudEvent, failure: Failure, *, topic: str, trace: Mapping[str, str]
) -> OutgoingRecord:
    """The record for the dead-letter topic: the event in binary mode, its data byte for byte, and the failure.

    Headers of the original record that belong to no CloudEvent stay as they are. An original that claimed to be a
    CloudEvent and was not comes as a wrapped record: its value is the data.
    """
    marked = _plain(event).with_attributes(**_failure_attributes(record, failure))
    letter = write_record(marked, topic, trace=trace)
    kept = tuple((name, value) for name, value in record.headers if value is not None and is_foreign(name))
    return OutgoingRecord(topic, record.key, letter.value, letter.headers + kept)


def _plain(event: CloudEvent) -> CloudEvent:
    """The event as one whose media type does not claim that a CloudEvent stands in the data, where that was false."""
    claimed = event.content_type or ""
    if not claimed.lower().startswith("application/cloudevents"):
        return event
    return event.with_attributes(datacontenttype="application/octet-stream", kafkaheadercontenttype=claimed)


def _failure_attributes(record: Record, failure: Failure) -> dict[str, str]:
    optional = {
        "knativeerrordest": failure.destination,
        "knativeerrorcode": str(failure.status) if failure.status is not None else "",
        "knativeerrordata": base64.b64encode((failure.body or failure.detail.encode())[:MOST_ERROR_DATA]).decode(),
        "hrfirstattempt": _moment(failure.first),
        "hrlastattempt": _moment(failure.last),
    }
    return {
        "hrreason": failure.reason,
        "hrattempts": str(failure.attempts),
        "hrtopic": record.partition.topic,
        "hrpartition": str(record.partition.number),
        "hroffset": str(record.offset),
        **{name: value for name, value in optional.items() if value},
    }


def is_foreign(name: str) -> bool:
    """Whether a Kafka header belongs to neither the CloudEvent nor the trace: such headers pass through as they are."""
    lower = name.lower()
    return not lower.startswith("ce_") and lower != "content-type" and lower not in TRACE_HEADERS


def _moment(seconds: float) -> str:
    if not seconds:
        return ""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
