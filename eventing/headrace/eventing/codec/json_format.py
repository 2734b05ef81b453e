"""The CloudEvents JSON format: structured events and batches (CloudEvents 1.0.2, JSON event format)."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import InvalidEventError
from headrace.eventing.event import UNREAD, CloudEvent, new_event

if TYPE_CHECKING:
    from collections.abc import Sequence

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"


def is_json(content_type: str | None) -> bool:
    """Whether data of this media type is JSON (JSON format section 3.1: none given means JSON)."""
    if content_type is None or content_type == "application/json":
        return True
    subtype = content_type.partition(";")[0].strip().lower().rpartition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def dump_event(event: CloudEvent) -> bytes:
    """The event as one JSON object."""
    head = orjson.dumps(dict(event.attributes))
    data = _data_member(event)
    if data is None:
        return head
    return head[:-1] + (b"," + data + b"}" if event.attributes else data + b"}")


def dump_batch(events: Sequence[CloudEvent]) -> bytes:
    """The events as one JSON array, in order."""
    return b"[" + b",".join(map(dump_event, events)) + b"]"


def load_event(body: bytes) -> CloudEvent:
    """The event of a JSON object.

    Raises:
        InvalidEventError: the body is no JSON object, or no CloudEvent.
    """
    return _event_of(_parse(body))


def load_batch(body: bytes) -> list[CloudEvent | InvalidEventError]:
    """The events of a JSON array, in order; an item that is no event is its error, so its neighbours are kept.

    Raises:
        InvalidEventError: the body is no JSON array.
    """
    items = _parse(body)
    if not isinstance(items, list):
        raise InvalidEventError("A CloudEvents batch is a JSON array; this one is " + _kind(items))
    return [_event_or_fault(item) for item in items]


def _event_or_fault(item: object) -> CloudEvent | InvalidEventError:
    try:
        return _event_of(item)
    except InvalidEventError as fault:
        return fault


def _data_member(event: CloudEvent) -> bytes | None:
    if event.data is None:
        return None
    if event.value is not UNREAD:
        return b'"data":' + event.data
    if is_json(event.content_type) and (raw := _valid_json(event.data)) is not None:
        return b'"data":' + raw
    return b'"data_base64":"' + base64.b64encode(event.data) + b'"'


def _valid_json(data: bytes) -> bytes | None:
    # Data that only claims to be JSON must not break the envelope around it: it travels as base64.
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return data


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise InvalidEventError(f"A structured CloudEvent must be JSON: {fault}") from fault


def _event_of(item: object) -> CloudEvent:
    if not isinstance(item, dict):
        raise InvalidEventError("A structured CloudEvent is a JSON object; this one is " + _kind(item))
    attributes = {
        name: value if type(value) is str else _attribute_text(name, value)
        for name, value in item.items()
        if value is not None and name != "data" and name != "data_base64"  # noqa: PLR1714  # a tuple costs twice as much here
    }
    if "data" in item and "data_base64" not in item:
        return _event_of_value(attributes, item["data"])
    return new_event(attributes, _unbase64(item["data_base64"]) if "data_base64" in item else None)


def _attribute_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise InvalidEventError(f"Attribute '{name}' must be a string, a boolean or an integer, not {_kind(value)}")


def _event_of_value(attributes: dict[str, str], value: Any) -> CloudEvent:
    # JSON format section 3.1: a string under a media type that is not JSON is the text itself.
    named = is_json(attributes.get("datacontenttype"))
    if isinstance(value, str) and not named:
        return new_event(attributes, value.encode())
    return new_event(attributes, orjson.dumps(value), value if named else UNREAD)


def _unbase64(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # a wrong type is the TypeError below
    except (binascii.Error, TypeError, ValueError) as fault:
        raise InvalidEventError(f"'data_base64' is not base64: {fault}") from fault


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
