"""Logs to compact, and what their readers see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

from headrace.local.broker import batches
from headrace.local.broker.compaction import Compaction
from headrace.local.broker.configs import LogConfig
from headrace.local.broker.log import PartitionLog

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400_000
CONFIG = LogConfig(segment_bytes=400, deletes=False, compacts=True, dirty_ratio=0.0, delete_retention_ms=1000)
Record = tuple[bytes, "bytes | None"]


def build(
    records: list[Record], *, at: int = 100, producer: tuple[int, int, int] = (-1, -1, -1), codec: int = 0
) -> memoryview:
    """A batch; a producer makes it transactional."""
    builder = DefaultRecordBatchBuilder(2, codec, producer[0] >= 0, *producer, 1 << 20)
    for number, (key, value) in enumerate(records):
        builder.append(number, at + number, key, value, [("h", b"1")])
    return memoryview(bytes(builder.build()))


def compact(log: PartitionLog, now: float) -> bool:
    """One compaction, as the upkeep does it."""
    planned = log.plan_compaction(now)
    if planned is None:
        return False
    work = Compaction(planned)
    for group in work.survey():
        rewritten = work.rewrite(group)
        if rewritten.is_changed:
            assert log.swap(rewritten)
        else:
            rewritten.drop()
    return True


def read(log: PartitionLog, *, committed: bool = False) -> list[tuple[int, bytes, bytes | None, int]]:
    """Offset, key, value and time of every record, in the way of a consumer: by several fetches."""
    found: list[tuple[int, bytes, bytes | None, int]] = []
    offset, limit = log.start, log.stable if committed else log.end
    while offset < limit:
        part = log.find(offset, limit, 150)
        data = log.read(part)
        assert data, "a reader gets to the end"
        aborted = {one.producer_id: one.first for one in log.aborted_between(offset, part.end)} if committed else {}
        position = 0
        while position < len(data):
            header = batches.read_header(data, position)
            batch = data[position : position + header.size]
            position += header.size
            assert batches.is_intact(batch, header)
            if header.is_control:
                if not batches.is_commit(batch):
                    aborted.pop(header.producer_id, None)
                continue
            if header.is_transactional and header.base_offset >= aborted.get(header.producer_id, 1 << 62):
                continue
            for record in MemoryRecords(batch).next_batch() or ():
                assert record.headers == [("h", b"1")]
                found.append((record.offset, record.key, record.value, record.timestamp))
        offset = part.end
    return [one for one in found if one[0] >= log.start]


def last_of_each(records: list[tuple[int, bytes, bytes | None, int]]) -> dict[bytes, bytes | None]:
    return {key: value for _, key, value, _ in records}


def filled(folder: Path, config: LogConfig = CONFIG) -> PartitionLog:
    """Twenty batches over three keys, then one of its own that fills a segment."""
    log = PartitionLog(folder, config)
    for number in range(20):
        log.append(build([(b"k%d" % (number % 3), b"value %d" % number), (b"same", b"%d" % number)], at=number))
    log.append(build([(b"end", b"x" * 300)], at=99))
    return log
