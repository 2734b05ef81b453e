"""CloudEvents over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent as SdkEvent
from cloudevents.http import from_http
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidEventError
from headrace.eventing.codec import http, json_format
from headrace.eventing.codec.http import HttpMessage, Mode
from headrace.eventing.event import new_event

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
BASE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


@given(TEXT, TEXT, st.binary(max_size=50))
def test_binary_mode_comes_back_as_it_was(identifier: str, subject: str, data: bytes) -> None:
    """Any text survives as a header: it is percent-encoded where headers cannot hold it."""
    event = new_event({**BASE, "id": identifier, "subject": subject, "datacontenttype": "image/png"}, data or None)
    message = http.write_binary(event)
    assert all(value.isascii() for value in message.headers.values())
    assert http.mode_of(message.headers) is Mode.BINARY
    assert http.read_binary(message) == event


@pytest.mark.parametrize(
    ("headers", "mode"),
    [
        ({"content-type": "application/cloudevents+json"}, Mode.STRUCTURED),
        ({"content-type": "Application/CloudEvents+JSON; charset=UTF-8"}, Mode.STRUCTURED),
        ({"content-type": "application/cloudevents-batch+json; charset=utf-8"}, Mode.BATCHED),
        ({"content-type": "application/json", "ce-id": "1"}, Mode.BINARY),
        ({"ce-type": "t"}, Mode.BINARY),
        ({"content-type": "application/json"}, None),
        ({}, None),
    ],
)
def test_the_mode_is_read_from_media_type_and_headers(headers: dict[str, str], mode: Mode | None) -> None:
    """Parameters and letter case of a media type do not count; any ``ce-`` header means an event."""
    assert http.mode_of(headers) is mode


def test_another_format_is_refused() -> None:
    """An event format that is not JSON gets an error, not a misreading."""
    with pytest.raises(InvalidEventError, match="avro"):
        http.mode_of({"content-type": "application/cloudevents+avro"})


def test_an_event_may_have_no_data() -> None:
    """A binary-mode request without a body is an event without data: kserve 0.21 answers it with a 500."""
    assert http.read_binary(HttpMessage({f"ce-{k}": v for k, v in BASE.items()}, b"")).data is None


def test_a_missing_id_is_an_error() -> None:
    """A request with some ``ce-`` headers and no ``ce-id`` is refused by name: kserve 0.21 takes it for plain JSON."""
    headers = {f"ce-{k}": v for k, v in BASE.items() if k != "id"}
    with pytest.raises(InvalidEventError, match="'id' is missing"):
        http.read_binary(HttpMessage(headers, b"{}"))


def test_quoted_values_are_unquoted() -> None:
    """Older senders quote header values; the quotes and escapes go."""
    event = http.read_binary(HttpMessage({**{f"ce-{k}": v for k, v in BASE.items()}, "ce-subject": '"a\\"b"'}, b""))
    assert event.get("subject") == 'a"b'


def test_broken_percent_encoding_is_refused() -> None:
    """Percent-encoded bytes that are no UTF-8 name their header."""
    with pytest.raises(InvalidEventError, match="ce-subject"):
        http.read_binary(HttpMessage({**{f"ce-{k}": v for k, v in BASE.items()}, "ce-subject": "%ff"}, b""))


@pytest.mark.parametrize("structured", [False, True])
def test_the_sdk_reads_what_we_write(structured: bool) -> None:
    """The CloudEvents SDK, as a peer, reads our events."""
    event = new_event({**BASE, "subject": "s", "datacontenttype": "application/json"}, b'{"a":1}')
    message = http.write_structured(event) if structured else http.write_binary(event)
    theirs: Any = from_http(dict(message.headers), message.body)
    assert (theirs["id"], theirs["subject"], theirs.data) == ("1", "s", {"a": 1})


@pytest.mark.parametrize("structured", [False, True])
def test_we_read_what_the_sdk_writes(structured: bool) -> None:
    """We read the events of the CloudEvents SDK."""
    theirs = SdkEvent({"type": "t", "source": "/s", "datacontenttype": "application/json"}, {"a": 1})
    headers, body = to_structured(theirs) if structured else to_binary(theirs)
    message = HttpMessage({k.lower(): v for k, v in headers.items()}, body)
    event = json_format.load_event(message.body) if structured else http.read_binary(message)
    assert (event.type, event.source, event.id) == ("t", "/s", theirs["id"])
    assert json.loads(event.data or b"") == {"a": 1}
