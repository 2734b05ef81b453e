"""A letter as a value: what it says of the failure, and the event it was, unchanged."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidEventError
from headrace.eventing.codec.kafka import read_record, wrap_record, write_record
from headrace.eventing.deadletter import Failure, dead_letter
from headrace.eventing.deadletters.handled import Handled, Mark
from headrace.eventing.deadletters.letter import DeadLetter, Place, original_record, read_letter
from headrace.eventing.deadletters.pace import TokenBucket
from headrace.eventing.deadletters.selection import Selection
from headrace.eventing.event import CloudEvent
from headrace.eventing.log import Headers, OutgoingRecord, Partition, Record

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
OTHER = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"}
FAILURE = Failure("exhausted", "no", status=503, body=b"busy", attempts=5, first=1.7e9, last=1.7e9 + 1)
names = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True).filter(
    lambda name: name not in {"specversion", "id", "source", "type", "datacontenttype", "traceparent", "tracestate"}
)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)


def at(offset: int, written: OutgoingRecord) -> Record:
    """The record once it lies in its topic."""
    return Record(Partition(written.topic, 0), offset, 1_700_000_000_000, written.key, written.value, written.headers)


def letter_of(record: Record, failure: Failure = FAILURE) -> DeadLetter:
    """The letter that the dispatcher writes of a record that failed."""
    try:
        event = read_record(record, namespace="ns", name="app")
    except InvalidEventError:
        event = wrap_record(record, namespace="ns", name="app")
    return read_letter(at(7, dead_letter(record, event, failure, topic="dead", trace=TRACE)))


def plain(event: CloudEvent) -> dict[str, str]:
    """The attributes without those that say where a record lies, and what a redrive adds."""
    added = {"knativekafkapartition", "knativekafkaoffset", "hrredrive", "hrredrives", "traceparent"}
    return {name: value for name, value in event.attributes.items() if name not in added}


@settings(max_examples=50, deadline=None)
@given(
    more=st.dictionaries(names, texts, max_size=4),
    data=st.none() | st.binary(max_size=50),
    content_type=st.none() | st.sampled_from(["application/json", "image/png"]),
    key=st.none() | st.binary(max_size=8),
    foreign=st.lists(st.tuples(st.from_regex(r"x-[a-z]{1,8}", fullmatch=True), st.binary(max_size=8)), max_size=2),
)
def test_the_event_comes_back_as_it_was(
    more: dict[str, str],
    data: bytes | None,
    content_type: str | None,
    key: bytes | None,
    foreign: list[tuple[str, bytes]],
) -> None:
    """After failure and redrive an event's attributes, data, key and foreign headers are the first ones."""
    mine = {**more, "specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    mine |= {"datacontenttype": content_type} if content_type else {}
    written = write_record(CloudEvent(mine, data), "in", trace={})
    first = Record(Partition("in", 3), 41, 1, key, data, written.headers + tuple(foreign))
    back = original_record(letter_of(first), "in", run="r1", trace=OTHER)
    event = read_record(at(99, back), namespace="", name="")
    assert plain(event) == mine
    assert (event.data, back.key) == (data, key)
    assert [header for header in back.headers if header[0].startswith("x-")] == foreign
    assert (event.get("hrredrive"), event.get("hrredrives")) == ("r1", "1")
    assert event.get("traceparent") == dict(back.headers)["traceparent"].decode() == OTHER["traceparent"]


def test_an_attribute_of_the_users_that_looks_like_ours_stays() -> None:
    """Only what the dispatcher adds is taken away: ``hr`` may be somebody's human resources."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "hrdepartment": "sales"}
    first = at(0, write_record(CloudEvent(attributes, b""), "in", trace={}))
    back = original_record(letter_of(first), "in", run="r", trace={})
    assert read_record(at(1, back), namespace="", name="").get("hrdepartment") == "sales"


def test_a_loop_can_be_seen() -> None:
    """An event that fails again after each redrive counts them."""
    event = CloudEvent({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"})
    record = at(0, write_record(event, "in", trace={}))
    for turn in range(3):
        letter = letter_of(record)
        assert letter.redrives == turn
        record = at(turn + 1, original_record(letter, "in", run=f"run{turn}", trace={}))
    assert read_record(record, namespace="", name="").get("hrredrives") == "3"
    assert read_record(record, namespace="", name="").get("hrredrive") == "run2"


def test_a_plain_record_keeps_the_id_it_was_given() -> None:
    """A record that is no CloudEvent has its place as id; sent back, it lies elsewhere and is the same event still."""
    first = Record(Partition("in", 3), 41, 1000, b"k", b"hello", (("x-tag", b"1"),))
    before = read_record(first, namespace="ns", name="app")
    back = original_record(letter_of(first), "in", run="r", trace={})
    after = read_record(at(99, back), namespace="", name="")
    assert plain(after) == plain(before)
    assert (after.data, back.key) == (b"hello", b"k")


@pytest.mark.parametrize(
    "headers",
    [
        (("content-type", b"application/cloudevents+json"), ("x-tag", b"1"), ("cell", b"9")),
        (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("content-type", b"text/plain"), ("cell", b"9")),
    ],
    ids=["structured", "binary"],
)
def test_a_false_cloud_event_gets_its_claim_back(headers: Headers) -> None:
    """Sent back, it is as false as it was, not a sound event of another type; loops are counted all the same."""
    record = Record(Partition("in", 0), 5, 1000, b"k", b"not json", headers)
    invalid = Failure("invalid", "no json")
    for turn in range(2):
        letter = letter_of(record, invalid)
        assert (letter.reason, letter.redrives) == ("invalid", turn)
        back = original_record(letter, "in", run="r", trace={})
        assert set(headers) <= set(back.headers)
        assert "ce_ll" not in dict(back.headers)
        assert (back.value, back.key) == (b"not json", b"k")
        record = at(turn + 6, back)
        with pytest.raises(InvalidEventError):
            read_record(record, namespace="", name="")


def test_a_letter_says_why() -> None:
    """Reason, status, attempts, origin, and the receiver's words, decoded."""
    letter = letter_of(Record(Partition("in", 3), 41, 1000, None, b"hello", ()))
    assert (letter.reason, letter.status, letter.attempts, letter.topic) == ("exhausted", "503", "5", "in")
    assert letter.error == "busy"
    assert str(letter.place) == "0/7"
    assert letter.written == datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)


def test_what_is_no_letter_breaks_nothing() -> None:
    """Anything may lie in a topic: garbage in every field gives a letter without a reason."""
    headers = (("ce_specversion", b"1.0"), ("ce_knativeerrordata", b"\xff"), ("ce_hrredrives", b"many"), ("n", None))
    letter = read_letter(Record(Partition("dead", 0), 1, -1, b"\xff", None, headers))
    assert (letter.reason, letter.topic, letter.redrives, letter.written, letter.error) == ("", "", 0, None, "")


def test_a_mark_counts_for_its_own_letter_only() -> None:
    """A topic that was deleted and made anew has other letters at the same places: they wait."""
    letter = letter_of(Record(Partition("in", 0), 1, 1000, None, b"a", ()))
    mark = Mark("redriven", "r", "2026-01-01T00:00:00Z", "in", letter.fingerprint)
    handled = Handled({Place(0, 7): mark})
    assert handled.of(letter) == mark
    later = DeadLetter(Record(letter.record.partition, 7, letter.record.timestamp + 1, None, b"a"), letter.event)
    assert handled.of(later) is None
    assert handled.before({0: 8}) == [Place(0, 7)]
    assert handled.before({0: 7}) == []


def test_conditions_hold_all_at_once() -> None:
    """Ids, reasons, times and filter: a letter must meet each; places are ids too."""
    letter = letter_of(Record(Partition("in", 0), 1, 1000, None, b"a", ()))
    assert Selection().is_all
    assert Selection().takes(letter)
    assert Selection(ids=frozenset({"0/7"})).takes(letter)
    assert Selection(ids=frozenset({letter.event.id}), reasons=frozenset({"exhausted"})).takes(letter)
    assert not Selection(ids=frozenset({"0/8"})).takes(letter)
    assert not Selection(reasons=frozenset({"invalid"})).takes(letter)
    assert Selection(since=letter.written).takes(letter)
    assert not Selection(until=letter.written).takes(letter)
    assert not Selection(matches=lambda attributes: attributes["hrreason"] == "invalid").takes(letter)
    undated = DeadLetter(Record(letter.record.partition, 7, -1, None, b"a"), letter.event)
    assert not Selection(since=letter.written).takes(undated)


def test_the_rate_is_kept_and_a_pause_is_no_credit() -> None:
    """100 at 10 a second take 9.5 s after a burst of 5; an hour of idling gives one burst, not an hour's worth."""
    now = 0.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    bucket = TokenBucket(10, 5, monotonic=lambda: now, sleep=sleep)
    for _ in range(20):
        bucket.take(5)
    assert sum(slept) == pytest.approx(9.5)
    now += 3600
    slept.clear()
    bucket.take(5)
    assert slept == []
    bucket.take(5)
    assert slept == [pytest.approx(0.5)]
