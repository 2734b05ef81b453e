"""CloudEvents over HTTP: binary, structured and batched mode (CloudEvents 1.0.2, HTTP protocol binding)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from headrace.errors import InvalidEventError
from headrace.eventing.codec import json_format
from headrace.eventing.event import CloudEvent, new_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Mode(Enum):
    """How events stand in an HTTP message."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCHED = "batched"


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """Headers and body of a request or a response."""

    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


# Binding section 3.1.3.2: a space, a double quote, a percent sign, and all outside printable ASCII are encoded.
_ENCODED = re.compile(r"[^!#$&-~]")
_SAFE = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def mode_of(headers: Mapping[str, str]) -> Mode | None:
    """The mode of a message by its lower-case headers; None where it holds no CloudEvent.

    A media type is compared without its parameters and in any case: ``application/cloudevents+json; charset=UTF-8``
    is structured.

    Raises:
        InvalidEventError: a CloudEvents format other than JSON.
    """
    content_type = headers.get("content-type", "").lower()
    if "cloudevents" not in content_type:
        # A message that has any ce- header means to be an event: a forgotten ce-id is an error, not plain JSON.
        event = "ce-id" in headers or any(name.startswith("ce-") for name in headers)
        return Mode.BINARY if event else None
    media_type = content_type.partition(";")[0].strip()
    if media_type == json_format.BATCH:
        return Mode.BATCHED
    if media_type == json_format.STRUCTURED:
        return Mode.STRUCTURED
    if media_type.startswith("application/cloudevents"):
        raise InvalidEventError(f"CloudEvents format {media_type!r} is not supported; send JSON or binary mode")
    return Mode.BINARY if any(name.startswith("ce-") for name in headers) else None


def read_binary(message: HttpMessage) -> CloudEvent:
    """The event of a binary-mode message; an empty body is an event without data.

    Raises:
        InvalidEventError: an attribute is missing or malformed.
    """
    attributes = {name[3:]: value for name, value in message.headers.items() if name.startswith("ce-")}
    text = "".join(attributes.values())
    if "%" in text or '"' in text:
        attributes = {name: _decode(f"ce-{name}", value) for name, value in attributes.items()}
    if content_type := message.headers.get("content-type"):
        attributes["datacontenttype"] = content_type
    return new_event(attributes, message.body or None)


def write_binary(event: CloudEvent) -> HttpMessage:
    """The event as ``ce-*`` headers, ``content-type`` and a body of its data."""
    attributes = dict(event.attributes)
    content_type = attributes.pop("datacontenttype", None)
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    if _ENCODED.search("".join(attributes.values())):
        headers = {name: _encode(value) for name, value in headers.items()}
    if content_type is not None:
        headers["content-type"] = content_type
    return HttpMessage(headers, event.data or b"")


def write_structured(event: CloudEvent) -> HttpMessage:
    """The event as one JSON object."""
    return HttpMessage({"content-type": json_format.STRUCTURED}, json_format.dump_event(event))


def write_batch(events: Sequence[CloudEvent]) -> HttpMessage:
    """The events as one JSON array, in order."""
    return HttpMessage({"content-type": json_format.BATCH}, json_format.dump_batch(events))


def _encode(value: str) -> str:
    return quote(value, safe=_SAFE) if _ENCODED.search(value) else value


def _decode(name: str, value: str) -> str:
    # Section 3.1.3.2: quoted values of older senders are unquoted, then percent-encoding is undone.
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if "%" not in value:
        return value
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as fault:
        raise InvalidEventError(f"Header '{name}' is not percent-encoded UTF-8: {value!r}") from fault
