"""The log of one partition: what is appended is found again, whatever a crash leaves of the file."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from headrace.local.broker import batches
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.configs import LogConfig
from headrace.local.broker.log import PartitionLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("unsynced")
LIMIT = 1 << 20
FIRST = "00000000000000000000.log"
"""The segment of the first record."""
SIZES = st.lists(st.integers(min_value=1, max_value=4), min_size=1, max_size=12)


def build(
    count: int, *, time: int = 1_000, producer: tuple[int, int, int] = (-1, -1, -1), open_: bool = False
) -> bytes:
    """A batch of ``count`` records; ``producer`` is id, epoch and sequence."""
    builder = DefaultRecordBatchBuilder(2, 0, open_, *producer, 1 << 20)
    for number in range(count):
        builder.append(number, time + number, None, b"x" * (number * 7), [])
    return bytes(builder.build())


def append(log: PartitionLog, batch: bytes) -> int:
    return log.append(memoryview(batch))


def offsets(log: PartitionLog, start: int = 0, limit: int | None = None) -> list[int]:
    """The offsets that a reader gets who fetches 100 bytes at a time."""
    found: list[int] = []
    end = log.end if limit is None else limit
    while start < end:
        part = log.find(start, end, 100)
        data = log.read(part)
        assert len(data) == part.size > 0
        position = 0
        while position < len(data):
            header = batches.read_header(data, position)
            assert batches.is_intact(data[position : position + header.size], header)
            found += range(header.base_offset, header.base_offset + header.records)
            position += header.size
        start = part.end
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of one test."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, data=st.data())
def test_cut_anywhere_recovers_the_whole_batches_before_the_cut(sizes: list[int], data: st.DataObject) -> None:
    """A log cut at any byte opens with exactly the batches that are whole, and goes on from there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "0"
        path = folder / FIRST
        log = PartitionLog(folder)
        ends = [0]
        for size in sizes:
            assert append(log, build(size)) == log.end - size
            ends.append(log.size)
        log.close()
        cut = data.draw(st.integers(min_value=0, max_value=ends[-1]))
        with path.open("r+b") as file:
            file.truncate(cut)
        whole = sum(end <= cut for end in ends) - 1
        log = PartitionLog(folder)
        assert log.end == sum(sizes[:whole])
        assert log.size == ends[whole]
        assert append(log, build(2)) == sum(sizes[:whole])
        assert offsets(log) == list(range(sum(sizes[:whole]) + 2))
        log.close()


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, data=st.data())
def test_a_read_from_any_offset_gives_every_record_from_there(sizes: list[int], data: st.DataObject) -> None:
    """Reading from any offset, up to any batch's end, misses nothing; it may begin earlier in the same batch."""
    with tempfile.TemporaryDirectory() as name:
        log = PartitionLog(Path(name) / "0")
        for size in sizes:
            append(log, build(size))
        start = data.draw(st.integers(min_value=0, max_value=log.end))
        limit = data.draw(st.sampled_from([sum(sizes[:count]) for count in range(len(sizes) + 1)]))
        found = offsets(log, start, limit)
        assert [one for one in found if one >= start] == list(range(start, max(start, limit)))
        log.close()


@settings(max_examples=60, deadline=None)
@given(position=st.integers(min_value=0, max_value=200), bit=st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_in_the_last_batch_cuts_it(position: int, bit: int) -> None:
    """A wrong last batch is cut and kept beside the log; what lies before it stays."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "0"
        path = folder / FIRST
        log = PartitionLog(folder)
        append(log, build(3))
        before = log.size
        append(log, build(2, time=1))
        size = log.size - before
        log.close()
        content = bytearray(path.read_bytes())
        at = position % size
        content[before + at] ^= 1 << bit
        path.write_bytes(content)
        log = PartitionLog(folder)
        # The leader epoch is outside the checksum, and means nothing here.
        assert log.end == (5 if 12 <= at < 16 else 3)
        log.close()


def test_a_failed_write_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills in the middle of a batch, the file is as before and the producer is told."""
    log = PartitionLog(folder)
    append(log, build(2))
    before = (folder / FIRST).read_bytes()
    real = os.pwrite

    def half(descriptor: int, data: memoryview, at: int) -> int:
        if at > len(before):
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:20], at)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(Refusal) as refused:
        append(log, build(2))
    monkeypatch.undo()
    assert refused.value.code is Code.KAFKA_STORAGE_ERROR
    assert (folder / FIRST).read_bytes() == before
    assert append(log, build(1)) == 2
    log.close()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: data[:40], Code.CORRUPT_MESSAGE),
        (lambda data: data[:-1], Code.CORRUPT_MESSAGE),
        (lambda data: data + data, Code.INVALID_RECORD),
        (lambda data: data[:-1] + bytes((data[-1] ^ 1,)), Code.CORRUPT_MESSAGE),
        (lambda data: data[:16] + b"\x01" + data[17:], Code.UNSUPPORTED_FOR_MESSAGE_FORMAT),
        (lambda _: bytes(batches.marker(1, 0, commit=True)), Code.INVALID_RECORD),
        (lambda _: build(1) + b"x" * LIMIT, Code.INVALID_RECORD),
    ],
)
def test_what_is_no_acceptable_batch_is_refused(folder: Path, spoil: Callable[[bytes], bytes], code: Code) -> None:
    """Torn, corrupt, doubled, old-format and forged control batches never reach the file."""
    log = PartitionLog(folder)
    with pytest.raises(Refusal) as refused:
        append(log, spoil(build(3)))
    assert refused.value.code is code
    assert log.size == 0
    log.close()


def test_a_batch_over_the_limit_is_refused(folder: Path) -> None:
    """The limit counts the bytes of the batch."""
    log = PartitionLog(folder, LogConfig(max_message_bytes=100))
    with pytest.raises(Refusal) as refused:
        log.append(memoryview(build(9)))
    assert refused.value.code is Code.MESSAGE_TOO_LARGE
    log.close()


def test_producers_repeats_gaps_and_epochs(folder: Path) -> None:
    """A repeat of the last five batches gives its old offset, after a restart too; a gap or an old epoch is not."""
    log = PartitionLog(folder)
    for number in range(6):
        append(log, build(2, producer=(7, 0, number * 2)))
    log.close()
    log = PartitionLog(folder)
    assert append(log, build(2, producer=(7, 0, 10))) == 10
    assert append(log, build(2, producer=(7, 0, 2))) == 2
    for wrong in ((7, 0, 14), (7, 0, 0)):
        with pytest.raises(Refusal) as refused:
            append(log, build(2, producer=wrong))
        assert refused.value.code is Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert append(log, build(2, producer=(7, 1, 0))) == 12
    with pytest.raises(Refusal) as refused:
        append(log, build(2, producer=(7, 0, 12)))
    assert refused.value.code is Code.INVALID_PRODUCER_EPOCH
    assert log.end == 14
    log.close()


def test_sequences_begin_anew_after_the_last_int(folder: Path) -> None:
    """Sequence 2^31 - 1 is followed by 0."""
    log = PartitionLog(folder)
    append(log, build(1, producer=(7, 0, 2**31 - 1)))
    assert append(log, build(1, producer=(7, 0, 0))) == 1
    log.close()


def test_a_partition_forgets_the_longest_idle_producers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: beyond the limit, the producer that wrote longest ago is a new one again."""
    monkeypatch.setattr("headrace.local.broker.producers._MOST_KNOWN", 2)
    log = PartitionLog(folder)
    for producer in ((1, 0, 0), (2, 0, 0), (1, 0, 1), (3, 0, 0)):
        append(log, build(1, producer=producer))
    assert append(log, build(1, producer=(1, 0, 1))) == 2
    assert append(log, build(1, producer=(2, 0, 7))) == 4
    log.close()


def test_open_and_aborted_transactions_are_found_again(folder: Path) -> None:
    """The last stable offset and the aborted list are the same after the log is opened anew."""
    log = PartitionLog(folder)
    append(log, build(2, producer=(1, 0, 0), open_=True))
    append(log, build(2, producer=(2, 0, 0), open_=True))
    log.end_transaction(1, 0, commit=False)
    append(log, build(1))
    for opened in (log, PartitionLog(folder)):
        assert opened.stable == 2
        assert opened.end == 6
        assert [(one.producer_id, one.first, one.last) for one in opened.aborted] == [(1, 0, 4)]
        assert [one.producer_id for one in opened.aborted_between(0, 1)] == [1]
        assert opened.aborted_between(5, 6) == []
        opened.end_transaction(3, 0, commit=True)
        assert opened.end == 6
        opened.close()
    log = PartitionLog(folder)
    log.end_transaction(2, 0, commit=True)
    assert log.stable == log.end == 7
    log.close()


def test_search_by_time(folder: Path) -> None:
    """The first record at or after a time, also inside a batch; the highest time; nothing before the log's start."""
    log = PartitionLog(folder)
    assert log.find_latest_time().offset == -1
    for time in (100, 300, 200):
        append(log, build(3, time=time))
    assert [log.find_time(time).offset for time in (0, 101, 103, 302, 303)] == [0, 1, 3, 5, -1]
    assert log.find_latest_time() == (5, 302)
    log.delete_before(7)
    assert log.find_time(0).offset == 7
    assert log.find_latest_time() == (8, 202)
    log.close()


def test_deleted_records_stay_deleted(folder: Path) -> None:
    """The start of the log is durable, never goes back, and never passes the end."""
    log = PartitionLog(folder)
    append(log, build(5))
    log.delete_before(3)
    log.delete_before(1)
    with pytest.raises(Refusal):
        log.delete_before(6)
    log.close()
    log = PartitionLog(folder)
    assert log.start == 3
    log.close()


def test_flush_syncs_before_the_append_returns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``flush``, every append is on the disk; without, none waits for it."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    for flush, count in ((False, 0), (True, 1)):
        log = PartitionLog(folder / str(flush), flush=flush)
        append(log, build(1))
        assert len(synced) == count
        log.close()
