"""Recordings: what a record was comes back to the byte, and what is no event is told from it."""

from __future__ import annotations

from dataclasses import replace

import orjson
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidEventError
from headrace.eventing.codec import json_format
from headrace.eventing.codec.kafka import read_record, write_record
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.log import Headers, Partition, Record
from headrace.eventing.replay.recording import dump_recorded, load_recorded, plain

HERE = Partition("calls", 3)
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
EVENTS = st.builds(
    lambda identifier, source, kind, data: new_event(
        {"specversion": "1.0", "id": identifier, "source": source, "type": "t", "datacontenttype": kind}, data
    ),
    TEXT,
    TEXT,
    st.sampled_from(["application/json", "image/png", "text/plain"]),
    st.one_of(st.none(), st.binary(max_size=40), st.just(b'{ "spaced" : 1 }')),
)


def read(record: Record) -> CloudEvent:
    """The record's event, as a dispatcher reads it."""
    return plain(read_record(record, namespace="ns", name="app"))


def recorded(event: CloudEvent, key: bytes | None, offset: int = 7) -> Record:
    """The event as it lay in Kafka."""
    written = write_record(event, HERE.topic, trace={})
    return Record(HERE, offset, 1_700_000_000_123, key, written.value, written.headers)


@given(EVENTS, st.one_of(st.none(), st.binary(max_size=10)))
def test_an_event_comes_back_to_the_byte(event: CloudEvent, key: bytes | None) -> None:
    """Attributes, data, key and timestamp: also data that are JSON with spaces, and none at all."""
    line = dump_recorded(recorded(event, key))
    assert line.count(b"\n") == 1
    found = load_recorded(line, Partition("file", 0), 5)
    assert read(found) == event
    assert (found.key, found.timestamp, found.offset) == (key, 1_700_000_000_123, 5)


def test_headers_beside_the_event_are_kept() -> None:
    """Those that are no attributes come back in order, also twice, empty and null; the rest stays what it was."""
    event = new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "partitionkey": "p"}, b"x")
    beside: Headers = (("colour", b"\xff"), ("colour", b""), ("none", None))
    was = recorded(event, None)
    found = load_recorded(dump_recorded(replace(was, headers=(*beside, *was.headers))), Partition("file", 0), 5)
    assert (found.headers[-3:], found.key, read(found)) == (beside, None, event)


def test_a_recording_is_a_file_of_cloudevents() -> None:
    """Each line is a CloudEvent in JSON format that says where it lay, for any reader of CloudEvents."""
    event = new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"x")
    line = json_format.load_event(dump_recorded(recorded(event, b"k")))
    assert line.data == b"x"
    place = [line.get(name) for name in ("hrtopic", "hrpartition", "hroffset", "hrtimestamp", "hrkey")]
    assert place == ["calls", "3", "7", "1700000000123", "aw=="]


def test_a_cloudevent_that_was_not_recorded_is_taken() -> None:
    """A file that somebody else wrote has no places: the key is the event's own partitionkey."""
    line = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":"car 7","data":{"a":1}}'
    found = load_recorded(line, HERE, 0)
    assert (found.key, found.timestamp, read(found).data) == (b"car 7", -1, b'{"a":1}')


def refused(record: Record) -> str:
    """What the dispatcher says of a record that is no event."""
    try:
        read_record(record, namespace="", name="")
    except InvalidEventError as fault:
        return str(fault)
    return ""


def test_what_is_no_event_stays_none() -> None:
    """A broken line, changed data, and a record that was no event when it was recorded: each is refused, and kept."""
    event = new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"picture")
    changed = orjson.loads(dump_recorded(recorded(event, None))) | {"data_base64": "AAAA"}
    headers: Headers = (("ce_specversion", b"1.0"), ("ce_id", b"2"))
    never = dump_recorded(Record(HERE, 1, 0, None, b"half an event", headers))
    assert orjson.loads(never)["hrinvalid"].startswith("Not a CloudEvent: required attribute 'source' is missing")
    for line in (b"{broken\n", orjson.dumps(changed), never):
        found = load_recorded(line, HERE, 2)
        assert refused(found), line
        assert found.value == line.rstrip(b"\n"), "it is set aside as it was"


def test_plain_records_are_recorded_as_events() -> None:
    """A record that never claimed to be a CloudEvent becomes the event that a dispatcher makes of it."""
    record = Record(HERE, 9, 1000, b"k", b"raw", (("colour", b"red"),))
    found = read(load_recorded(dump_recorded(record), HERE, 0))
    assert (found.data, found.type, found.get("kafkaheadercolour")) == (b"raw", "dev.knative.kafka.event", "red")
