"""Segments: a log of many files reads as one, opens without reading it all, and loses its beginning by whole files."""

from __future__ import annotations

import shutil
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from headrace.errors import ConfigurationError
from headrace.local.broker import batches
from headrace.local.broker.configs import LogConfig
from headrace.local.broker.log import PartitionLog
from headrace.local.broker.segment import HeaderReader
from headrace.local.broker.settings import BrokerSettings
from headrace.local.broker.topics import Catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("unsynced")
SMALL = LogConfig(segment_bytes=300)


def spoilt_state(data: bytes) -> bytes:
    """The index with another letter in what producers and transactions had come to."""
    assert b'"producers"' in data
    return data.replace(b'"producers"', b'"producerz"')


def build(count: int, time: int, producer: tuple[int, int, int] = (-1, -1, -1), *, open_: bool = False) -> memoryview:
    builder = DefaultRecordBatchBuilder(2, 0, open_, *producer, 1 << 20)
    for number in range(count):
        builder.append(number, time + number, None, b"x" * 20, [])
    return memoryview(bytes(builder.build()))


def offsets(log: PartitionLog, start: int, most: int) -> list[int]:
    """What a reader gets who fetches ``most`` bytes at a time."""
    found: list[int] = []
    while start < log.end:
        part = log.find(start, log.end, most)
        data = log.read(part)
        assert len(data) == part.size > 0
        position = 0
        while position < len(data):
            header = batches.read_header(data, position)
            found += range(max(header.base_offset, start), header.last_offset + 1)
            position += header.size
        start = part.end
    return found


def facts(log: PartitionLog) -> tuple[object, ...]:
    """Everything that a client can tell of a log."""
    return (
        log.start,
        log.end,
        log.stable,
        list(log.aborted),
        dict(log.open_transactions),
        offsets(log, log.start, 250),
    )


def filled(folder: Path, config: LogConfig = SMALL, count: int = 12) -> PartitionLog:
    """A log of several segments, with producers, an aborted transaction and an open one."""
    log = PartitionLog(folder, config)
    for number in range(count):
        log.append(build(2, 1000 * number))
        log.append(build(1, 1000 * number, (7, 0, number)))
    log.append(build(2, 1, (8, 0, 0), open_=True))
    log.append(build(2, 1, (9, 0, 0), open_=True))
    log.end_transaction(8, 0, commit=False)
    log.append(build(1, 50_000))
    return log


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=25),
    most=st.integers(min_value=1, max_value=1500),
    data=st.data(),
)
def test_a_log_of_many_segments_reads_as_one(sizes: list[int], most: int, data: st.DataObject) -> None:
    """From any offset, by any number of bytes, before and after it is opened anew, nothing is missing or repeated."""
    with tempfile.TemporaryDirectory() as name:
        log = PartitionLog(Path(name), SMALL)
        for number, size in enumerate(sizes):
            log.append(build(size, number))
        start = data.draw(st.integers(min_value=0, max_value=log.end))
        assert offsets(log, start, most) == list(range(start, sum(sizes)))
        log.close()
        log = PartitionLog(Path(name), SMALL)
        assert offsets(log, start, most) == list(range(start, sum(sizes)))
        log.close()


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(min_value=0, max_value=30), min_size=1, max_size=20),
    wanted=st.integers(min_value=0, max_value=32),
    data=st.data(),
)
def test_a_search_by_time_finds_what_a_search_one_by_one_finds(
    times: list[int], wanted: int, data: st.DataObject
) -> None:
    """Whatever the order of the timestamps, the first record at or after a time, and the first of the latest."""
    with tempfile.TemporaryDirectory() as name:
        log = PartitionLog(Path(name), SMALL)
        for time in times:
            log.append(build(1, time))
        start = data.draw(st.integers(min_value=0, max_value=log.end))
        log.delete_before(start)
        left = [(time, offset) for offset, time in enumerate(times) if offset >= start]
        assert log.find_time(wanted).offset == next((offset for time, offset in left if time >= wanted), -1)
        latest = max((time for time, _ in left), default=None)
        assert log.find_latest_time().offset == next((offset for time, offset in left if time == latest), -1)
        log.close()


def test_opening_reads_the_last_segment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start-up reads no batch header of a segment whose index is there."""
    log = filled(tmp_path)
    before = facts(log)
    assert log.segments > 5
    log.close()
    read: list[int] = []
    real = HeaderReader.at

    def at(reader: HeaderReader, position: int) -> batches.Header | None:
        read.append(position)
        return real(reader, position)

    monkeypatch.setattr(HeaderReader, "at", at)
    log = PartitionLog(tmp_path, SMALL)
    assert len(read) <= 4
    assert facts(log) == before
    log.close()


@pytest.mark.parametrize(
    "spoil", [lambda data: b"", lambda data: data[:40], lambda data: data[:-1] + b"\xff", spoilt_state, None]
)
@pytest.mark.parametrize("which", [0, 2, -1])
def test_a_lost_or_spoilt_index_costs_nothing_but_time(
    tmp_path: Path, spoil: Callable[[bytes], bytes] | None, which: int
) -> None:
    """An index that is missing, torn or wrong in any part is made anew from the segment, and the log is the same."""
    log = filled(tmp_path)
    before = facts(log)
    times = [log.find_time(time) for time in range(0, 60_000, 500)]
    log.close()
    path = sorted(tmp_path.glob("*.index"))[which]
    if spoil is None:
        path.unlink()
    else:
        path.write_bytes(spoil(path.read_bytes()))
    for _ in range(2):
        log = PartitionLog(tmp_path, SMALL)
        assert facts(log) == before
        assert [log.find_time(time) for time in range(0, 60_000, 500)] == times
        # The producers' sequences are the same as well: what was sent before is known.
        assert log.append(build(1, 11_000, (7, 0, 11))) == 35
        log.close()


def test_every_index_is_needed_for_nothing(tmp_path: Path) -> None:
    """Without any index at all, the log is the same: the segments alone hold the truth."""
    log = filled(tmp_path)
    before = facts(log)
    log.close()
    for path in tmp_path.glob("*.index"):
        path.unlink()
    log = PartitionLog(tmp_path, SMALL)
    assert facts(log) == before
    log.close()


def test_a_spoilt_older_segment_costs_what_is_behind_the_spot_in_it(tmp_path: Path) -> None:
    """Without its index, a segment is checked; what is not whole is cut and kept aside, the later segments stay."""
    log = PartitionLog(tmp_path, SMALL)
    for number in range(9):
        log.append(build(3, number))
    ends = [int(path.stem) for path in sorted(tmp_path.glob("*.log"))]
    log.close()
    segment = tmp_path / f"{ends[1]:020d}.log"
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    segment.with_suffix(".index").unlink()
    log = PartitionLog(tmp_path, SMALL)
    left = offsets(log, 0, 400)
    assert left == [one for one in range(27) if not ends[2] - 3 <= one < ends[2]]
    assert list(tmp_path.glob("*.cut-*"))
    log.close()


def test_deleting_records_frees_their_segments(tmp_path: Path) -> None:
    """Segments below the new start are gone from the disk, also when all is deleted; the end stays."""
    log = filled(tmp_path)
    end, size, files = log.end, log.size, log.segments
    log.delete_before(20)
    assert log.segments < files
    assert log.size < size
    assert offsets(log, 20, 400) == list(range(20, end))
    log.delete_before(end)
    assert (log.segments, log.size, log.start, log.end) == (1, 0, end, end)
    log.close()
    log = PartitionLog(tmp_path, SMALL)
    assert (log.start, log.end, log.size) == (end, end, 0)
    assert log.append(build(1, 1, (7, 0, 11))) == 35, "a producer's repeat is still known"
    assert log.append(build(1, 1, (7, 0, 12))) == end
    assert len(list(tmp_path.glob("*.log"))) == 1
    log.close()


def test_retention_by_time(tmp_path: Path) -> None:
    """Segments go when their youngest record is too old, the last one too; what is not decided stays."""
    log = PartitionLog(tmp_path, LogConfig(segment_bytes=300, retention_ms=1000))
    for number in range(10):
        log.append(build(3, 10_000 + number * 100))
    kept = log.segments
    log.tend(10_900)
    assert log.segments == kept
    log.tend(11_350)
    assert 0 < log.start < log.end
    assert log.find_time(0) == (12, 10_400)
    log.append(build(1, 10_000, (7, 0, 0), open_=True))
    log.tend(99_999_999)
    assert log.start <= log.stable < log.end
    log.end_transaction(7, 0, commit=True)
    log.tend(10**15)
    assert log.start == log.end
    assert log.size == 0
    log.close()


def test_retention_by_size(tmp_path: Path) -> None:
    """The oldest segments go until what is left would be less than the limit."""
    log = PartitionLog(tmp_path, LogConfig(segment_bytes=300, retention_bytes=1000))
    for number in range(40):
        log.append(build(2, number))
    log.tend(0)
    assert 1000 <= log.size < 1300
    assert offsets(log, log.start, 500) == list(range(log.start, 80))
    log.close()


def test_a_segment_ends_by_time(tmp_path: Path) -> None:
    """A segment that was begun ``segment.ms`` ago is followed by a new one, and an empty one never is."""
    log = PartitionLog(tmp_path, LogConfig(segment_ms=60_000))
    now = log.append(build(1, 1)) or log._segments[-1].begun
    log.tend(now + 59_000)
    assert log.segments == 1
    log.tend(now + 61_000)
    log.tend(now + 999_000)
    assert log.segments == 2
    log.close()


def test_an_index_of_bytes_that_are_gone_is_not_believed_later(tmp_path: Path) -> None:
    """The growing segment is cut below its index by a broken disk, and grows again: its own bytes count."""
    log = PartitionLog(tmp_path)
    for number in range(1100):
        log.append(build(1, number))
    log.close()
    (index,) = tmp_path.glob("*.index")
    with index.with_suffix(".log").open("r+b") as segment:
        segment.truncate(1000)
    log = PartitionLog(tmp_path)
    kept = log.end
    for number in range(800):
        log.append(build(2, number))
    before = facts(log)
    # The process is killed: nothing is closed.
    log = PartitionLog(tmp_path)
    assert log.end == kept + 1600
    assert facts(log) == before
    log.close()


def copies_of(folder: Path, under: Path) -> tuple[list[Path], Callable[[str], None]]:
    """Copies of a folder at every checkpoint: what a crash there leaves."""
    made: list[Path] = []

    def copy(_step: str) -> None:
        made.append(under / str(len(made)))
        shutil.copytree(folder, made[-1])

    return made, copy


def test_a_crash_at_any_step_of_a_roll_or_a_deletion_leaves_the_log_whole(tmp_path: Path) -> None:
    """At each step the log opens with every record from its start, before or after the change."""
    made, copy = copies_of(tmp_path / "log", tmp_path)
    log = PartitionLog(tmp_path / "log", SMALL, checkpoint=copy)
    for number in range(10):
        log.append(build(3, number))
    log.delete_before(14)
    log.delete_before(30)
    log.close()
    assert len(made) > 10
    starts, ends = [0], [0]
    for one in made:
        copied = PartitionLog(one, SMALL)
        assert offsets(copied, copied.start, 100) == list(range(copied.start, copied.end))
        assert copied.append(build(1, 1)) == copied.end - 1
        starts.append(copied.start)
        ends.append(copied.end - 1)
        copied.close()
        assert all(int(path.stem) >= 0 for path in one.glob("*.log"))
    assert starts == sorted(starts)
    assert ends == sorted(ends)


def test_a_data_folder_of_format_1_is_taken_over(tmp_path: Path) -> None:
    """One file a partition becomes its first segment; a start that is killed on the way goes on the next time."""
    topics = tmp_path / "topics" / "old"
    log = PartitionLog(tmp_path / "made")
    for number in range(5):
        log.append(build(2, number))
    log.close()
    topics.mkdir(parents=True)
    for index in range(3):
        shutil.copy(next((tmp_path / "made").glob("*.log")), topics / f"{index}.log")
    (topics / "1.start").write_text("4")
    # A crash came when partition 2 was half moved.
    (topics / "2").mkdir()
    catalogue = '{"format":1,"cluster":"abc","topics":{"old":{"partitions":3,"configs":{}}}}'
    (tmp_path / "topics.json").write_text(catalogue)
    for _ in range(2):
        opened = Catalogue(tmp_path, BrokerSettings())
        logs = [opened.log("old", index) for index in range(3)]
        assert [(one.start, one.end) for one in logs] == [(0, 10), (4, 10), (0, 10)]
        opened.close()
    assert sorted(path.name for path in topics.iterdir()) == ["0", "1", "2"]
    assert b'"format":2' in (tmp_path / "topics.json").read_bytes()


def test_a_data_folder_of_a_later_format_is_refused(tmp_path: Path) -> None:
    """A folder that this version cannot read is left alone, and said to be so."""
    (tmp_path / "topics.json").write_text('{"format":3,"cluster":"abc","topics":{}}')
    with pytest.raises(ConfigurationError, match="format 3"):
        Catalogue(tmp_path, BrokerSettings())


def test_highest_so_far_is_kept_by_the_index(tmp_path: Path) -> None:
    """A time between two of a disordered log is found at the first record that reaches it."""
    times = [5, 3, 9, 1, 9, 12]
    log = PartitionLog(tmp_path)
    for time in times:
        log.append(build(1, time))
    highs = list(accumulate(times, max))
    assert [log.find_time(time).offset for time in range(13)] == [
        next(at for at, high in enumerate(highs) if high >= time) for time in range(13)
    ]
    log.close()
