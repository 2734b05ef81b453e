"""CloudEvents in Kafka records (CloudEvents 1.0.2, Kafka protocol binding; Knative KafkaSource's rules for the rest).

Source of the rules: docs/architecture/03-event-contract.md, section 1. Nothing is invented while reading: a record
read twice gives the same event.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from headrace.errors import InvalidEventError
from headrace.eventing.codec import json_format
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.log import OutgoingRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.log import Record

WRAPPED_TYPE = "dev.knative.kafka.event"
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")


def read_record(record: Record, *, namespace: str, name: str) -> CloudEvent:
    """The event of a record: structured, binary, or a plain record wrapped as Knative's KafkaSource wraps it.

    Args:
        record: The record.
        namespace: Namespace of the source, for a wrapped record's ``source``.
        name: Name of the source, for the same.

    Raises:
        InvalidEventError: the record claims to be a CloudEvent and is not.
    """
    headers = text_headers(record)
    content_type = headers.get("content-type", "")
    if content_type.lower().startswith(json_format.BATCH):
        raise InvalidEventError("A Kafka record holds one CloudEvent; a batch is only for HTTP")
    if content_type.lower().startswith("application/cloudevents"):
        event = _structured(content_type, record)
    elif "ce_specversion" in headers:
        event = _binary(headers, record)
    else:
        event = wrap_record(record, namespace=namespace, name=name)
    return event.with_attributes(**_place(record))


def wrap_record(record: Record, *, namespace: str, name: str) -> CloudEvent:
    """The record as an event of Knative's ``dev.knative.kafka.event``, whatever it holds."""
    topic, number = record.partition
    headers = text_headers(record)
    attributes = {
        "specversion": "1.0",
        "type": WRAPPED_TYPE,
        "source": f"/apis/v1/namespaces/{namespace}/kafkasources/{name}#{topic}",
        "id": f"partition:{number}/offset:{record.offset}",
        "subject": f"partition:{number}#{record.offset}",
        **_time(record.timestamp),
        **_key(record.key),
        **_foreign(headers),
        **_place(record),
    }
    if content_type := headers.get("content-type"):
        attributes["datacontenttype"] = content_type
    return CloudEvent(attributes, record.value)


def write_record(event: CloudEvent, topic: str, *, trace: Mapping[str, str]) -> OutgoingRecord:
    """The event in binary mode; its ``partitionkey`` is the record's key.

    Args:
        event: The event.
        topic: Where it goes.
        trace: ``traceparent`` and friends of the current span: they stand as plain headers (which Kafka's own
            instrumentations read) and as CloudEvents attributes (which Knative keeps).
    """
    current = {k: v for k, v in trace.items() if k in ("traceparent", "tracestate")}
    attributes = {**event.attributes, **current}
    headers = [(f"ce_{k}", v.encode()) for k, v in attributes.items() if k != "datacontenttype"]
    if event.content_type is not None:
        headers.append(("content-type", event.content_type.encode()))
    headers += [(k, v.encode()) for k, v in trace.items()]
    key = event.attributes.get("partitionkey")
    return OutgoingRecord(topic, key.encode() if key is not None else None, event.data, tuple(headers))


def text_headers(record: Record) -> dict[str, str]:
    """The headers by lower-case name, as text; of a name that comes twice the last counts, a null value is left out.

    Bytes that are not UTF-8 become replacement characters: they cannot stand in an attribute.
    """
    return {name.lower(): value.decode(errors="replace") for name, value in record.headers if value is not None}


def _structured(content_type: str, record: Record) -> CloudEvent:
    if not content_type.lower().startswith(json_format.STRUCTURED):
        raise InvalidEventError(f"CloudEvents format {content_type!r} is not supported; publish JSON or binary mode")
    if record.value is None:
        raise InvalidEventError("A structured CloudEvent has no value to read it from")
    return json_format.load_event(record.value)


def _binary(headers: dict[str, str], record: Record) -> CloudEvent:
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce_")}
    if content_type := headers.get("content-type"):
        attributes["datacontenttype"] = content_type
    return new_event(attributes, record.value)


def _place(record: Record) -> dict[str, str]:
    return {
        "knativekafkapartition": str(record.partition.number),
        "knativekafkaoffset": str(record.offset),
    }


def _time(timestamp: int) -> dict[str, str]:
    if timestamp < 0:
        return {}
    moment = datetime.fromtimestamp(timestamp / 1000, timezone.utc)
    return {"time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _key(key: bytes | None) -> dict[str, str]:
    if key is None:
        return {}
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = base64.b64encode(key).decode()
    return {"key": text, "partitionkey": text}


def _foreign(headers: dict[str, str]) -> dict[str, str]:
    named = ((re.sub("[^a-z0-9]", "", name), value) for name, value in headers.items() if name != "content-type")
    return {f"kafkaheader{name}": value for name, value in named if name}
