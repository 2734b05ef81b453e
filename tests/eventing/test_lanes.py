"""Order of events."""

from __future__ import annotations

from headrace.eventing.lanes import Lanes, lane_of
from headrace.eventing.log import Partition, Record


def record(key: bytes | None, partition: int = 0) -> Record:
    """A record of in."""
    return Record(Partition("in", partition), 0, 0, key, b"")


def test_lanes_by_ordering() -> None:
    """``key`` keeps a key's events apart from others, ``partition`` a partition's, ``none`` keeps no order."""
    assert lane_of(record(b"a"), "key") == lane_of(record(b"a"), "key") != lane_of(record(b"b"), "key")
    assert lane_of(record(None), "key") is None
    assert lane_of(record(b"a"), "partition") == lane_of(record(None), "partition")
    assert lane_of(record(b"a", 1), "partition") != lane_of(record(b"a", 0), "partition")
    assert lane_of(record(b"a"), "none") is None


def test_one_of_a_lane_at_a_time_in_order() -> None:
    """What enters a busy lane comes out in the order of entering, one a leave."""
    lanes: Lanes[int] = Lanes()
    assert lanes.enter("a", 1)
    assert not lanes.enter("a", 2)
    assert not lanes.enter("a", 3)
    assert lanes.enter("b", 4)
    assert [lanes.leave("a"), lanes.leave("a"), lanes.leave("a")] == [2, 3, None]
    assert lanes.enter("a", 5)
