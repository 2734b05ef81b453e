"""Which events, and how fast."""

from __future__ import annotations

import pytest

from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event
from headrace.eventing.filters import compile_filters
from headrace.eventing.log import Partition, Record
from headrace.eventing.replay.choice import Choice
from headrace.eventing.replay.pace import AsItComes, FixedRate, OriginalTiming, Pace

HERE = Partition("in", 0)


def record(number: int, timestamp: int = 0, kind: str = "t") -> Record:
    """A record of an event with that number as its id."""
    event = new_event({"specversion": "1.0", "id": str(number), "source": "/s", "type": kind})
    return Record(HERE, number, timestamp, None, None, write_record(event, "in", trace={}).headers)


def test_a_sample_is_the_same_in_every_run_and_grows() -> None:
    """By the event's id: a tenth is a tenth, taken again it has the same events, and a half has them among its own."""
    tenth = {n for n in range(5000) if Choice(share=0.1).takes(record(n))}
    half = {n for n in range(5000) if Choice(share=0.5).takes(record(n))}
    assert 400 < len(tenth) < 600
    assert tenth < half
    assert tenth == {n for n in range(5000) if Choice(share=0.1).takes(record(n))}


def test_a_filter_chooses_and_what_is_no_event_is_kept() -> None:
    """CESQL over the attributes; a record that is no event is for the run to set aside."""
    choice = Choice(compile_filters([{"cesql": "type = 'a' AND id <> '3'"}]))
    kinds = [record(n, kind="ab"[n % 2]) for n in range(6)] + [record(3, kind="a")]
    assert [r.offset for r in kinds if choice.takes(r)] == [0, 2, 4]
    assert choice.takes(Record(HERE, 0, 0, None, b"", (("ce_specversion", b"1.0"),)))


def played(pace: Pace, records: list[Record], slow: float = 0.0) -> list[float]:
    """When each record goes, in seconds since the first; after each, ``slow`` seconds pass."""
    now, times = 100.0, []
    for one in records:
        while wait := pace.wait(one, now):
            now += wait
        pace.gone(one, now)
        times.append(round(now - 100.0, 6))
        now += slow
    return times


def test_a_rate_is_even() -> None:
    """Ten a second are a tenth of a second apart."""
    assert played(FixedRate(10), [record(n) for n in range(4)]) == [0.0, 0.1, 0.2, 0.3]


def test_a_rate_catches_up_for_a_second_at_most() -> None:
    """After a long stop the receiver is not flooded with all that it missed."""
    pace = FixedRate(10)
    pace.gone(record(0), 100.0)
    burst = 0
    while not pace.wait(record(1), 160.0):
        pace.gone(record(1), 160.0)
        burst += 1
    assert burst == 11


@pytest.mark.parametrize(("speed", "times"), [(1, [0.0, 2.0, 3.0, 3.0]), (60, [0.0, 0.033333, 0.05, 0.05])])
def test_the_original_timing_is_kept(speed: float, times: list[float]) -> None:
    """The gaps of the timestamps, as they were or so many times shorter; one without a timestamp goes at once."""
    records = [record(0, 5000), record(1, 7000), record(2, 8000), record(3, -1)]
    assert played(OriginalTiming(speed), records) == times


def test_as_it_comes_waits_for_nothing() -> None:
    """No pace of its own."""
    assert played(AsItComes(), [record(n) for n in range(3)]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("pace", [FixedRate(10), OriginalTiming(10)])
def test_what_a_pause_took_is_not_caught_up(pace: Pace) -> None:
    """Right after a minute's pause the next event has its gap before it, as without."""
    pace.gone(record(0, 1000), 100.0)
    pace.stood(60.0)
    assert pace.wait(record(1, 2000), 160.0) == pytest.approx(0.1)
