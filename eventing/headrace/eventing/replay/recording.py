"""Recordings: CloudEvents, each with the place, the key and the headers that its record had.

What the record had beside the event stands in extensions of ours, so that ``headrace publish --events`` and any other
reader of CloudEvents take a recording as it is. A file of JSON Lines has an event a line in CloudEvents' JSON format,
the data in base64, also where they are JSON: they must come back to the byte.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

import orjson

from headrace.errors import InvalidEventError
from headrace.eventing.codec import json_format
from headrace.eventing.codec.kafka import read_record, wrap_record, write_record
from headrace.eventing.log import Partition, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.log import Headers

PLACE = ("hrtopic", "hrpartition", "hroffset", "hrtimestamp", "hrkey", "hrheaders", "hrsha256", "hrinvalid")
"""Extensions of a recorded event. ``hrkey`` is base64; ``hrheaders`` those headers that are no attributes of the event,
as JSON's ``[[name, base64 or null], ...]``; ``hrsha256`` the hex digest of the data; and ``hrinvalid`` says why the
record was no CloudEvent though it claimed to be one."""
_DELIVERED = ("knativekafkapartition", "knativekafkaoffset")
_NO_EVENT = (("ce_specversion", b"none"),)
"""Headers of a record that every reader refuses."""


def dump_recorded(record: Record) -> bytes:
    """The line of a record, with its end."""
    event = recorded(record)
    members = dict(event.attributes)
    if event.data is not None:
        members["data_base64"] = base64.b64encode(event.data).decode()
    return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


def load_recorded(line: bytes, partition: Partition, number: int) -> Record:
    """The record of a line: at offset ``number`` of ``partition``, with the key and the timestamp it was recorded with.

    A CloudEvent that was not recorded has the key that its ``partitionkey`` gives, and no timestamp. A line that is
    none gives a record that is none: the run that reads it sets it aside, with the reason.
    """
    try:
        event = json_format.load_event(line)
    except InvalidEventError:
        structured = (("content-type", json_format.STRUCTURED.encode()),)
        return Record(partition, number, -1, None, line.rstrip(b"\n"), structured)
    return restored(event, partition, number) or refused(line.rstrip(b"\n"), partition, number)


def recorded(record: Record) -> CloudEvent:
    """The record's event with :data:`PLACE` in its attributes.

    A record that claims to be a CloudEvent and is none is kept as a plain one, with the reason in ``hrinvalid``.
    """
    try:
        event, invalid = read_record(record, namespace="", name=""), {}
    except InvalidEventError as fault:
        event, invalid = wrap_record(record, namespace="", name=""), {"hrinvalid": str(fault)}
    return plain(event).with_attributes(**_place(record, event), **invalid)


def restored(event: CloudEvent, partition: Partition, number: int) -> Record | None:
    """The record that :func:`recorded` made the event of, at another place; None where it is not what it was."""
    known = {name: event.attributes[name] for name in PLACE if name in event.attributes}
    if "hrinvalid" in known or known.get("hrsha256", _digest(event)) != _digest(event):
        return None
    outgoing = write_record(event.without(*PLACE), partition.topic, trace={})
    try:
        timestamp = int(known.get("hrtimestamp", -1))
        key = base64.b64decode(known["hrkey"], validate=True) if "hrkey" in known else None
        headers = (*outgoing.headers, *load_headers(known.get("hrheaders", "[]")))
    except (ValueError, TypeError, binascii.Error):
        return None
    if "hrtopic" not in known:  # never recorded
        key = outgoing.key
    return Record(partition, number, timestamp, key, outgoing.value, headers)


def refused(data: bytes, partition: Partition, number: int) -> Record:
    """A record that every reader refuses, with what was found in place of an event."""
    return Record(partition, number, -1, None, data, _NO_EVENT)


def plain(event: CloudEvent) -> CloudEvent:
    """The event without what reading it from Kafka added."""
    return event.without(*_DELIVERED)


def dump_headers(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Headers as the text of ``hrheaders``."""
    told = [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]
    return orjson.dumps(told).decode()


def load_headers(text: str) -> Headers:
    """What :func:`dump_headers` made the text of.

    Raises:
        ValueError, TypeError: it is another text.
    """
    return tuple(
        (str(name), None if value is None else base64.b64decode(value, validate=True))
        for name, value in orjson.loads(text)
    )


def _place(record: Record, event: CloudEvent) -> dict[str, str]:
    topic, number = record.partition
    place = {
        "hrtopic": topic,
        "hrpartition": str(number),
        "hroffset": str(record.offset),
        "hrtimestamp": str(record.timestamp),
        "hrsha256": _digest(event),
    }
    if foreign := [header for header in record.headers if not _is_attribute(header[0])]:
        place["hrheaders"] = dump_headers(foreign)
    return place if record.key is None else {**place, "hrkey": base64.b64encode(record.key).decode()}


def _is_attribute(header: str) -> bool:
    return header.lower().startswith("ce_") or header.lower() == "content-type"


def _digest(event: CloudEvent) -> str:
    return hashlib.sha256(event.data or b"").hexdigest()
