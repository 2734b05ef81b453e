"""The JSON event format: structured events and batches."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidEventError
from headrace.eventing.codec import json_format
from headrace.eventing.event import CloudEvent, new_event

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
NAMES = st.from_regex(r"x[a-z0-9]{1,10}", fullmatch=True)
EVENTS = st.builds(
    lambda required, extra, content_type, data: new_event(
        {**extra, **required, **({"datacontenttype": content_type} if content_type else {})}, data
    ),
    st.fixed_dictionaries({"specversion": st.just("1.0"), "id": TEXT, "source": TEXT, "type": TEXT}),
    st.dictionaries(NAMES, TEXT, max_size=3),
    st.sampled_from([None, "application/json", "image/png", "text/plain", "application/problem+json"]),
    st.none() | st.binary(max_size=50),
)


@given(EVENTS)
def test_an_event_comes_back_as_it_was(event: CloudEvent) -> None:
    """Written and read again, an event has the same attributes, and its data byte for byte unless it is JSON."""
    back = json_format.load_event(json_format.dump_event(event))
    assert dict(back.attributes) == dict(event.attributes)
    try:
        parsed = json.loads(event.data or b"")
    except ValueError:
        assert back.data == event.data
    else:
        assert json.loads(back.data or b"") == parsed


@given(st.lists(EVENTS, max_size=5))
def test_a_batch_keeps_its_order(events: list[CloudEvent]) -> None:
    """A batch read again has its events in order."""
    back = json_format.load_batch(json_format.dump_batch(events))
    assert [event.id for event in back if isinstance(event, CloudEvent)] == [event.id for event in events]


def test_a_bad_item_does_not_cost_its_neighbours() -> None:
    """An item of a batch that is no event becomes its error, in its place."""
    good = b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}'
    first, second, third = json_format.load_batch(b"[" + good + b',{"id":"2"},' + good + b"]")
    assert isinstance(first, CloudEvent)
    assert isinstance(second, InvalidEventError)
    assert isinstance(third, CloudEvent)


def test_time_is_not_required() -> None:
    """A structured event without ``time`` is an event: kserve 0.21 takes it for plain data."""
    event = json_format.load_event(b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}')
    assert "time" not in event.attributes
    assert event.data == b'{"a":1}'


def test_base64_data_is_decoded() -> None:
    """``data_base64`` is bytes."""
    event = json_format.load_event(b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAE="}')
    assert event.data == b"\x00\x01"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"not json", "must be JSON"),
        (b"[]", "an array"),
        (b"3", "object; this one is a number"),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"%"}', "not base64"),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":7}', "not base64"),
        (b'{"specversion":"1.0","id":"1","source":"/s","type":"t","extra":{"a":1}}', "'extra' must be a string"),
        (b'{"specversion":"1.0","id":1.5,"source":"/s","type":"t"}', "'id' must be a string"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(body: bytes, says: str) -> None:
    """Each way to be no structured CloudEvent has its message."""
    with pytest.raises(InvalidEventError, match=says):
        json_format.load_event(body)


def test_booleans_and_integers_take_their_canonical_form() -> None:
    """Attributes of JSON types become the strings of the spec's type system."""
    event = json_format.load_event(b'{"specversion":"1.0","id":"1","source":"/s","type":"t","a":true,"b":7,"c":null}')
    assert (event.get("a"), event.get("b")) == ("true", "7")
    assert "c" not in event.attributes


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "ä"]}, [], "text", 7, False, None])
def test_data_that_stood_there_as_a_value_is_not_parsed_twice(value: object) -> None:
    """The data of an event in an envelope is its bytes, and the value that they are, whatever that was."""
    body = orjson.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": value})
    event = json_format.load_event(body)
    assert event.data == orjson.dumps(value)
    assert event.value == value
    assert event.with_attributes(subject="s").without("type").value == value


def test_only_json_of_our_own_is_taken_unread() -> None:
    """Bytes that claim to be JSON and are not travel as base64; what this process has written is not looked at."""
    head = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "application/json"}
    assert b'"data_base64"' in json_format.dump_event(CloudEvent(head, b"{"))
    assert b'"data":[1]' in json_format.dump_event(CloudEvent(head, b"[1]", [1]))
