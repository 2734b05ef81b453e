"""Recordings: a JSON Lines file of CloudEvents, each with the place and the key that its record had.

A line is the event in CloudEvents' JSON format; what the record had beside the event stands in extensions of ours, so
that ``headrace publish --events`` and any other reader of CloudEvents take a recording as it is. The data are base64,
also where they are JSON: they must come back to the byte.
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
    from headrace.eventing.event import CloudEvent

PLACE = ("hrtopic", "hrpartition", "hroffset", "hrtimestamp", "hrkey", "hrsha256", "hrinvalid")
"""Extensions of a recorded event. ``hrkey`` is base64, ``hrsha256`` the hex digest of the data, and ``hrinvalid`` says
why the record was no CloudEvent though it claimed to be one."""
_DELIVERED = ("knativekafkapartition", "knativekafkaoffset")
_NO_EVENT = (("ce_specversion", b"none"),)
"""Headers of a record that every reader refuses."""


def dump_recorded(record: Record) -> bytes:
    """The line of a record, with its end.

    A record that claims to be a CloudEvent and is none is kept as a plain one, with the reason in ``hrinvalid``.
    """
    try:
        event, invalid = read_record(record, namespace="", name=""), {}
    except InvalidEventError as fault:
        event, invalid = wrap_record(record, namespace="", name=""), {"hrinvalid": str(fault)}
    members = {**plain(event).attributes, **_place(record, event), **invalid}
    if event.data is not None:
        members["data_base64"] = base64.b64encode(event.data).decode()
    return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


def load_recorded(line: bytes, partition: Partition, number: int) -> Record:
    """The record of a line: at offset ``number`` of ``partition``, with the key and the timestamp it was recorded with.

    A CloudEvent that was not recorded has the key that its ``partitionkey`` gives, and no timestamp. A line that is
    none gives a record that is none: the run that reads it sets it aside, with the reason.
    """
    try:
        return _load(line, partition, number)
    except InvalidEventError:
        structured = (("content-type", json_format.STRUCTURED.encode()),)
        broken = structured if _is_broken(line) else _NO_EVENT
        return Record(partition, number, -1, None, line.rstrip(b"\n"), broken)


def plain(event: CloudEvent) -> CloudEvent:
    """The event without what reading it from Kafka added."""
    return event.without(*_DELIVERED)


def _load(line: bytes, partition: Partition, number: int) -> Record:
    event = json_format.load_event(line)
    recorded = {name: event.attributes[name] for name in PLACE if name in event.attributes}
    if "hrinvalid" in recorded or recorded.get("hrsha256", _digest(event)) != _digest(event):
        raise InvalidEventError("not what a publisher sent")
    outgoing = write_record(event.without(*PLACE), partition.topic, trace={})
    try:
        timestamp = int(recorded.get("hrtimestamp", -1))
        key = base64.b64decode(recorded["hrkey"], validate=True) if "hrkey" in recorded else outgoing.key
    except (ValueError, binascii.Error) as fault:
        raise InvalidEventError(f"no timestamp or key: {fault}") from fault
    return Record(partition, number, timestamp, key, outgoing.value, outgoing.headers)


def _is_broken(line: bytes) -> bool:
    try:
        json_format.load_event(line)
    except InvalidEventError:
        return True
    return False


def _place(record: Record, event: CloudEvent) -> dict[str, str]:
    topic, number = record.partition
    place = {
        "hrtopic": topic,
        "hrpartition": str(number),
        "hroffset": str(record.offset),
        "hrtimestamp": str(record.timestamp),
        "hrsha256": _digest(event),
    }
    return place if record.key is None else {**place, "hrkey": base64.b64encode(record.key).decode()}


def _digest(event: CloudEvent) -> str:
    return hashlib.sha256(event.data or b"").hexdigest()
