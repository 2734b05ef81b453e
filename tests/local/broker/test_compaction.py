"""Compaction: the last record of every key stays, in order; whatever the crash, the codec, the transactions."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from headrace.local.broker import compaction
from headrace.local.broker.checksum import crc32c
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.compaction import Compaction, CompactionStoppedError
from headrace.local.broker.configs import LogConfig
from headrace.local.broker.log import PartitionLog

from .compacted import CONFIG, DAY, Record, build, compact, filled, last_of_each, read

pytestmark = pytest.mark.usefixtures("unsynced")
KEYS = st.sampled_from([b"a", b"b", b"c", b"d" * 40, b"e" * 40, b""])
BATCH = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.binary(max_size=30))), min_size=1, max_size=4)
STEP = st.one_of(
    st.tuples(st.just("plain"), BATCH, st.integers(0, 4)),
    st.tuples(st.just("commit"), BATCH, st.integers(0, 4)),
    st.tuples(st.just("abort"), BATCH, st.integers(0, 4)),
    st.tuples(st.just("open to commit"), BATCH, st.integers(0, 4)),
    st.tuples(st.just("open to abort"), BATCH, st.integers(0, 4)),
    st.tuples(st.just("compact"), st.just([]), st.just(0)),
    st.tuples(st.just("reopen"), st.just([]), st.just(0)),
)


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(STEP, min_size=1, max_size=25))
def test_a_reader_of_a_compacted_log_learns_what_a_reader_of_all_would(
    steps: list[tuple[str, list[Record], int]],
) -> None:
    """After any mix of batches, transactions, compactions and restarts: the same last value of every key.

    What stays keeps its offset, time, headers and order; a key whose last word is a tombstone may be there as that or
    be gone; every key below the segments that are not touched is there once.
    """
    with tempfile.TemporaryDirectory() as name:
        log = PartitionLog(Path(name), CONFIG)
        everything: dict[int, tuple[int, bytes, bytes | None, int]] = {}
        visible: dict[int, tuple[int, bytes, bytes | None, int]] = {}
        opened: list[tuple[int, str, list[tuple[int, bytes, bytes | None, int]]]] = []
        now = 0
        for number, (kind, records, codec) in enumerate(steps):
            now += 600
            if kind == "compact":
                compact(log, now)
            elif kind == "reopen":
                log.close()
                log = PartitionLog(Path(name), CONFIG)
            else:
                base = log.end
                producer = (-1, -1, -1) if kind == "plain" else (100 + number, 0, 0)
                log.append(build(records, at=now, producer=producer, codec=codec))
                rows = [(base + at, key, value, now + at) for at, (key, value) in enumerate(records)]
                everything.update((row[0], row) for row in rows)
                if kind.startswith("open"):
                    opened.append((producer[0], kind, rows))
                else:
                    if kind != "plain":
                        log.end_transaction(producer[0], 0, commit=kind == "commit")
                    if kind != "abort":
                        visible.update((row[0], row) for row in rows)
        for producer_id, kind, rows in opened:
            log.end_transaction(producer_id, 0, commit=kind == "open to commit")
            visible.update((row[0], row) for row in rows if kind == "open to commit")
        for round_ in range(3):
            got = read(log, committed=True)
            assert got == sorted(got)
            assert all(visible[row[0]] == row for row in got)
            expected = last_of_each([visible[offset] for offset in sorted(visible)])
            live = {key: value for key, value in expected.items() if value is not None}
            assert {key: value for key, value in last_of_each(got).items() if value is not None} == live
            assert all(row in everything.values() for row in read(log))
            log.close()
            log = PartitionLog(Path(name), CONFIG)
            now += 2000 * round_
            compact(log, now)
        log.close()


def test_a_reader_reaches_the_end_when_the_last_segment_is_empty(tmp_path: Path) -> None:
    """A log without news begins a new segment by time; compaction leaves the last record all the same."""
    log = PartitionLog(tmp_path, LogConfig(compacts=True, dirty_ratio=0.0, delete_retention_ms=0, segment_ms=1000))
    log.append(build([(b"a", b"1")]))
    log.append(build([(b"a", None)]))
    later = time.time() * 1000 + 5000
    for _ in range(3):
        log.tend(later)
        compact(log, later + DAY)
    assert log.segments == 2
    assert [row[0] for row in read(log)] == [0, 1]
    log.close()


def test_only_the_last_of_each_key_stays_and_the_bytes_are_freed(tmp_path: Path) -> None:
    """Of forty records those with the last values stay."""
    log = filled(tmp_path)
    size = log.size
    assert compact(log, DAY)
    assert [(key, value) for _, key, value, _ in read(log)] == [
        (b"k2", b"value 17"),
        (b"k0", b"value 18"),
        (b"k1", b"value 19"),
        (b"same", b"19"),
        (b"end", b"x" * 300),
    ]
    assert log.size < size / 2
    assert not list(tmp_path.glob("*.clean")) + list(tmp_path.glob("*.swap"))
    before = read(log)
    assert not compact(log, DAY), "there is nothing new to compact"
    log.close()
    log = PartitionLog(tmp_path, CONFIG)
    assert read(log) == before
    assert log.find_time(18).offset == 36
    log.close()


def test_a_tombstone_stays_for_its_time_and_then_goes(tmp_path: Path) -> None:
    """After the compaction that leaves only the tombstone, it stays ``delete.retention.ms``, over a restart too."""
    log = PartitionLog(tmp_path, CONFIG)
    log.append(build([(b"a", b"1"), (b"b", b"1")]))
    log.append(build([(b"a", None)]))
    log.append(build([(b"z", b"x" * 300)]))
    log.append(build([(b"z", b"x" * 300)]))
    assert compact(log, 5000)
    assert (2, b"a", None, 100) in read(log)
    assert not compact(log, 5999)
    log.close()
    log = PartitionLog(tmp_path, CONFIG)
    assert (2, b"a", None, 100) in read(log)
    assert compact(log, 6000)
    assert [row[1] for row in read(log)] == [b"b", b"z", b"z"], "the last segment is not touched"
    assert not compact(log, 9999), "and then there is nothing more to do"
    log.close()


def test_markers_go_after_their_transaction(tmp_path: Path) -> None:
    """A commit marker stays while a record of its transaction does; later both go, and no reader is confused."""
    log = PartitionLog(tmp_path, CONFIG)
    log.append(build([(b"a", b"1")], producer=(1, 0, 0)))
    log.end_transaction(1, 0, commit=True)
    log.append(build([(b"a", b"2"), (b"b", b"lost")], producer=(2, 0, 0)))
    log.end_transaction(2, 0, commit=False)
    log.append(build([(b"f", b"x" * 300)]))
    log.append(build([(b"g", b"x" * 300)]))
    compact(log, 0)
    assert next(row[:3] for row in read(log, committed=True)) == (0, b"a", b"1")
    assert len(log.aborted) == 1
    later = time.time() * 1000 + 5000
    assert compact(log, later)
    assert log.aborted == []
    without = tmp_path / "without indexes"
    without.mkdir()
    for path in tmp_path.glob("*.log"):
        shutil.copy(path, without)
    read_anew = PartitionLog(without, CONFIG)
    assert read_anew.stable == read_anew.end, "the marker stays as long as its transaction does"
    read_anew.close()
    assert next(row[:3] for row in read(log, committed=True)) == (0, b"a", b"1")
    log.append(build([(b"a", b"3")]))
    log.append(build([(b"g", b"y" * 300)]))
    compact(log, later)
    for path in tmp_path.glob("*.index"):
        path.unlink()
    log.close()
    log = PartitionLog(tmp_path, CONFIG)
    assert log.stable == log.end, "no marker is missing to a transaction whose records are there"
    assert [row[1] for row in read(log, committed=True)] == [b"f", b"g", b"a", b"g"]
    log.close()


def test_young_records_wait(tmp_path: Path) -> None:
    """Records younger than ``min.compaction.lag.ms`` stay, all of them."""
    log = filled(tmp_path, LogConfig(segment_bytes=400, compacts=True, dirty_ratio=0.0, min_lag_ms=1000))
    assert not compact(log, 1000)
    assert compact(log, 1010)
    assert len(read(log)) < 41
    assert {row[0] for row in read(log)} >= set(range(21, 40))
    log.close()


def test_too_little_new_waits_unless_it_waits_too_long(tmp_path: Path) -> None:
    """Below ``min.cleanable.dirty.ratio`` nothing happens, until ``max.compaction.lag.ms`` has passed."""
    log = filled(tmp_path, LogConfig(segment_bytes=400, compacts=True, dirty_ratio=0.9, max_lag_ms=DAY))
    assert compact(log, 10)
    log.append(build([(b"new", b"x" * 300)], at=200))
    log.append(build([(b"newer", b"x" * 10)], at=200))
    assert not compact(log, 10)
    assert compact(log, DAY + 201)
    log.close()


def test_without_room_for_all_keys_the_rest_is_left_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more keys than one compaction remembers, several come to the same end."""
    monkeypatch.setattr(compaction, "MOST_KEYS", 5)
    log = PartitionLog(tmp_path, CONFIG)
    for number in range(30):
        log.append(build([(b"%d" % (number % 15), b"%d" % number)] * 2))
    log.append(build([(b"end", b"x" * 400)]))
    rounds = 0
    while compact(log, DAY):
        rounds += 1
    assert rounds > 2
    assert [row[1:3] for row in read(log)][:-1] == [(b"%d" % (number % 15), b"%d" % number) for number in range(15, 30)]
    log.close()


def test_a_compacted_topic_takes_no_record_without_a_key(tmp_path: Path) -> None:
    """Such a record could never be told from another; and bytes that are no records are refused as well."""
    log = PartitionLog(tmp_path, CONFIG)
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, 1, None, b"value", [])
    with pytest.raises(Refusal, match="without a key") as refused:
        log.append(memoryview(bytes(builder.build())))
    assert refused.value.code is Code.INVALID_RECORD
    whole = bytes(build([(b"k", b"value")]))
    fake = bytearray(whole[:-12] + b"\xff" * 12)
    fake[17:21] = crc32c(bytes(fake[21:])).to_bytes(4, "big")
    with pytest.raises(Refusal):
        log.append(memoryview(bytes(fake)))
    assert log.end == 0
    log.close()


def test_a_log_that_is_deleted_or_cut_short_meanwhile_wins(tmp_path: Path) -> None:
    """What changed while a compaction ran is not undone by it; nothing of it is left behind."""
    log = filled(tmp_path)
    planned = log.plan_compaction(DAY)
    assert planned is not None
    work = Compaction(planned)
    rewritten = work.rewrite(work.survey()[0])
    log.delete_before(log.end)
    assert not log.swap(rewritten)
    assert read(log) == []
    assert not list(tmp_path.glob("*.clean"))
    log.close()


def test_a_segment_that_has_gone_does_not_come_back(tmp_path: Path) -> None:
    """Records are deleted before the compaction comes to them: it is given up, and makes no file of that name."""
    log = filled(tmp_path)
    planned = log.plan_compaction(DAY)
    assert planned is not None
    log.delete_before(log.end)
    with pytest.raises(CompactionStoppedError):
        Compaction(planned).survey()
    assert len(list(tmp_path.glob("*.log"))) == 1
    log.close()


def test_a_stopped_compaction_leaves_nothing(tmp_path: Path) -> None:
    """When the broker stops in the middle, no value is lost, and no half of a segment is left."""
    log = filled(tmp_path)
    before = read(log)
    planned = log.plan_compaction(DAY)
    assert planned is not None
    stopped: list[bool] = []
    work = Compaction(planned, lambda: bool(stopped))
    groups = work.survey()
    swapped = log.swap(work.rewrite(groups[0]))
    stopped.append(True)
    with pytest.raises(CompactionStoppedError):
        work.rewrite(groups[1])
    assert swapped
    assert last_of_each(read(log)) == last_of_each(before)
    assert not list(tmp_path.glob("*.clean"))
    log.close()


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for the new segment, or for its index: the old ones stay, and the next compaction succeeds."""
    log = filled(tmp_path)
    before = read(log)
    real = os.pwrite

    def full(descriptor: int, data: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="space"):
        compact(log, DAY)
    monkeypatch.setattr(os, "pwrite", real)
    monkeypatch.setattr("headrace.local.broker.batch_index.replace", lambda *_: full(0, b"", 0))
    with pytest.raises(OSError, match="space"):
        compact(log, DAY)
    monkeypatch.undo()
    assert last_of_each(read(log)) == last_of_each(before)
    assert not list(tmp_path.glob("*.clean")) + list(tmp_path.glob("*.swap"))
    assert compact(log, DAY)
    assert last_of_each(read(log)) == last_of_each(before)
    log.close()
