"""CloudEvents in Kafka records."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidEventError
from headrace.eventing.codec.kafka import read_record, write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Headers, Partition, Record

BASE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def record(value: bytes | None, headers: Headers = (), key: bytes | None = None, timestamp: int = 0) -> Record:
    """A record at in/3, offset 42."""
    return Record(Partition("in", 3), 42, timestamp, key, value, headers)


def read(value: bytes | None, headers: Headers = (), key: bytes | None = None, timestamp: int = 0) -> dict[str, str]:
    """Attributes of the event in such a record."""
    found = read_record(record(value, headers, key, timestamp), namespace="ns", name="app")
    return dict(found.attributes)


def binary(**more: str) -> Headers:
    """Headers of a binary-mode record."""
    return tuple((f"ce_{name}", value.encode()) for name, value in {**BASE, **more}.items())


def test_binary_mode() -> None:
    """``ce_*`` headers are attributes, content-type is datacontenttype, the place is added."""
    assert read(b"x", (*binary(subject="s"), ("content-type", b"image/png"))) == {
        **BASE,
        "subject": "s",
        "datacontenttype": "image/png",
        "knativekafkapartition": "3",
        "knativekafkaoffset": "42",
    }


def test_a_null_value_is_an_event_without_data() -> None:
    """A tombstone with ``ce_*`` headers is an event without data, and no error."""
    assert read_record(record(None, binary()), namespace="ns", name="app").data is None


@pytest.mark.parametrize(
    "content_type", [b"application/cloudevents+json", b"application/cloudevents+json; charset=UTF-8"]
)
def test_structured_mode(content_type: bytes) -> None:
    """An event in the value, whatever the media type's parameters."""
    value = b'{"specversion":"1.0","id":"7","source":"/s","type":"t","data":{"a":1}}'
    assert read(value, (("content-type", content_type),))["id"] == "7"


@pytest.mark.parametrize(
    ("value", "headers", "says"),
    [
        (b"{", (("content-type", b"application/cloudevents+json"),), "must be JSON"),
        (None, (("content-type", b"application/cloudevents+json"),), "no value"),
        (b"[]", (("content-type", b"application/cloudevents-batch+json"),), "only for HTTP"),
        (b"x", (("content-type", b"application/cloudevents+avro"),), "avro"),
        (b"x", (("ce_specversion", b"1.0"), ("ce_id", b"1")), "'source' is missing"),
    ],
)
def test_a_false_claim_is_refused(value: bytes | None, headers: Headers, says: str) -> None:
    """A record that claims to be a CloudEvent and is not is an error with the reason, never dropped as plain data."""
    with pytest.raises(InvalidEventError, match=says):
        read(value, headers)


def test_a_plain_record_is_wrapped_as_by_knative() -> None:
    """Every attribute of a wrapped record is that of Knative's KafkaSource."""
    headers: Headers = (("X-Trace_Id", b"\xc3\xa4"), ("null", None), ("content-type", b"Text/Plain"))
    assert read(b"x", headers, key=b"k", timestamp=1_700_000_000_123) == {
        "specversion": "1.0",
        "type": "dev.knative.kafka.event",
        "source": "/apis/v1/namespaces/ns/kafkasources/app#in",
        "id": "partition:3/offset:42",
        "subject": "partition:3#42",
        "time": "2023-11-14T22:13:20.123Z",
        "datacontenttype": "Text/Plain",
        "key": "k",
        "partitionkey": "k",
        "kafkaheaderxtraceid": "ä",
        "knativekafkapartition": "3",
        "knativekafkaoffset": "42",
    }


def test_a_key_that_is_no_text_comes_as_base64() -> None:
    """Bytes that are not UTF-8 cannot stand in an attribute as they are."""
    assert read(b"x", key=b"\xff\x00")["partitionkey"] == "/wA="


def test_reading_twice_gives_the_same_event() -> None:
    """Nothing is invented while reading: no time, no id."""
    assert read(b"x", binary()) == read(b"x", binary())
    assert "time" not in read(b"x", binary())


def test_partitionkey_is_the_key_and_stays_an_attribute() -> None:
    """Written to Kafka, ``partitionkey`` is the record's key and still an attribute; the trace stands in both forms."""
    event = new_event({**BASE, "partitionkey": "k", "traceparent": "old"}, b"x")
    trace = {"traceparent": "new", "baggage": "a=1"}
    written = write_record(event, "out", trace=trace)
    headers = dict(written.headers)
    assert (written.topic, written.key, written.value) == ("out", b"k", b"x")
    assert headers["ce_partitionkey"] == b"k"
    assert (headers["traceparent"], headers["ce_traceparent"], headers["baggage"]) == (b"new", b"new", b"a=1")
    assert "ce_baggage" not in headers
