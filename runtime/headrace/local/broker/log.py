"""The append-only log of one partition: record batches, one after the other, in segments.

Owns the segments, and what their batches add up to (``state``). Retention and DeleteRecords take whole segments away
at its beginning, compaction puts smaller ones in the place of others; the last segment only grows.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.local.broker import batch_index, batches, retention
from headrace.local.broker.batch_index import NO_TIME, Aborted
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.compaction import Plan, Rewritten, plan
from headrace.local.broker.configs import LogConfig
from headrace.local.broker.disk import replace, sync_folder
from headrace.local.broker.entries import check_keys
from headrace.local.broker.recovery import START, finish_swap, no_checkpoint, open_segments, swap_path
from headrace.local.broker.segment import Segment, index_path, log_path
from headrace.local.broker.state import PartitionState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from headrace.local.broker.batches import Header
    from headrace.local.broker.disk import AppendFile

logger = logging.getLogger(__name__)
_BASE = attrgetter("base")
_WORTH_KEEPING = 1000
"""Batches of the last segment from which a clean stop keeps their index: fewer are read as fast at the next start."""


class Found(NamedTuple):
    """A record found by time."""

    offset: int
    timestamp: int
    """Milliseconds since 1970; -1 when none was found."""


class Slice(NamedTuple):
    """Where the batches that answer a fetch lie."""

    parts: tuple[tuple[Segment, int, int], ...]
    """Segment, position and size of each run of batches."""
    size: int
    end: int
    """Offset behind the last record."""


class PartitionLog:
    """One partition. Opening it finishes or undoes what a crash left half done, and cuts a torn tail.

    Args:
        folder: Of the segments; made where it is missing.
        config: What the topic's configs say.
        flush: Whether each append waits for the disk.
        checkpoint: Called with the name of each step of a change to the files; tests end the process there.

    Raises:
        OSError: the folder cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        config: LogConfig | None = None,
        *,
        flush: bool = False,
        checkpoint: Callable[[str], None] = no_checkpoint,
    ) -> None:
        self.folder = folder
        self.config = config or LogConfig()
        self._flush = flush
        self._checkpoint = checkpoint
        self._state = PartitionState()
        self._waiting: set[asyncio.Future[None]] = set()
        self._segments, self.start = open_segments(folder, self._state, flush=flush)
        self._indexed = len(self._segments[-1].index)
        self.is_closed = False

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return self._segments[-1].end

    @property
    def stable(self) -> int:
        """The last stable offset: nothing from it on is decided, so ``read_committed`` stops there."""
        # Dictionaries keep the order of insertion, which is that of the first offsets.
        return next(iter(self._state.open_transactions.values()), self.end)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self._segments)

    @property
    def segments(self) -> int:
        """How many there are."""
        return len(self._segments)

    @property
    def open_transactions(self) -> dict[int, int]:
        """First offset of each producer's open transaction, the oldest first."""
        return self._state.open_transactions

    @property
    def aborted(self) -> list[Aborted]:
        """Every aborted transaction whose end marker is in the log."""
        return self._state.aborted

    @property
    def growing_file(self) -> AppendFile:
        """The file that appends go to."""
        return self._segments[-1].file

    def append(self, records: memoryview) -> int:
        """Take one batch of a producer; a repeat of a batch that is there is not written again.

        Args:
            records: The batch; the header and the checksum are all that is looked at, unless the topic is compacted.

        Returns:
            The offset of its first record.

        Raises:
            Refusal: the batch is not acceptable, its sequence is wrong, or the disk is full.
        """
        header = batches.accept(records, self.config.max_message_bytes)
        if self.config.compacts:
            check_keys(records, header)
        if header.producer_id >= 0:
            repeated = self._state.producers.repeated(header)
            if repeated is not None:
                return repeated
        return self._write(bytearray(records), header)

    def end_transaction(self, producer_id: int, epoch: int, *, commit: bool) -> None:
        """Append the end marker of a producer's transaction; nothing happens when it has none open here.

        Raises:
            Refusal: the disk is full.
        """
        if producer_id in self._state.open_transactions:
            batch = batches.marker(producer_id, epoch, commit=commit)
            self._write(batch, batches.read_header(batch))

    def find(self, offset: int, limit: int, most: int) -> Slice:
        """Where the batches from the one that holds ``offset``, or the next one, lie.

        Args:
            offset: Offset of the first record wanted.
            limit: Offset behind the last record that the reader may see, where a batch ends.
            most: Bytes that fit; the first batch is given whole, whatever its size.
        """
        bound = min(limit, self.end)
        parts: list[tuple[Segment, int, int]] = []
        left, end = most, offset
        if offset >= bound:
            return Slice((), 0, offset)
        for segment in self._segments[self._at(offset) :]:
            place = segment.find(offset, bound, left) if segment.base < bound else None
            if place is None:
                continue
            if parts and place.size > left:
                break
            parts.append((segment, place.position, place.size))
            left, end = left - place.size, place.end
            if place.more:
                break
        return Slice(tuple(parts), sum(size for _, _, size in parts), end)

    def read(self, part: Slice) -> bytes:
        """The bytes of a slice."""
        runs = [segment.file.read(position, size) for segment, position, size in part.parts]
        return runs[0] if len(runs) == 1 else b"".join(runs)

    def aborted_between(self, first: int, end: int) -> list[Aborted]:
        """The aborted transactions that have records in ``[first, end)``."""
        return self._state.aborted_between(first, end)

    def find_time(self, timestamp: int) -> Found:
        """The first record whose timestamp is at least ``timestamp`` (milliseconds), or offset -1."""
        for segment in self._segments[self._at(self.start) :]:
            for batch in segment.since(timestamp, self.start) if segment.time >= timestamp else ():
                for record in batches.records_of(batch):
                    if record.timestamp >= timestamp and record.offset >= self.start:
                        return Found(record.offset, record.timestamp)
        return Found(-1, NO_TIME)

    def find_latest_time(self) -> Found:
        """The first of the records with the highest timestamp, or offset -1 in an empty log."""
        first, *others = self._segments[self._at(self.start) :]
        highest = max(first.index.latest_from(self.start), *(one.time for one in others), NO_TIME)
        return self.find_time(highest) if highest > NO_TIME else Found(-1, NO_TIME)

    def delete_before(self, offset: int) -> None:
        """Make the records before ``offset`` unreadable; segments that hold nothing else are deleted.

        Raises:
            Refusal: the offset is not in the log, or the disk is full.
        """
        if not 0 <= offset <= self.end:
            raise Refusal(Code.OFFSET_OUT_OF_RANGE)
        if offset > self.start:
            if offset == self.end:
                self._roll()
            self._move_start(offset)

    def tend(self, now: float) -> None:
        """Begin a new segment where the last one is old enough, and delete the segments that retention lets go.

        Args:
            now: Milliseconds since 1970.

        Raises:
            Refusal: the disk is full.
        """
        config = self.config
        age = now - self._segments[-1].begun
        if age >= config.segment_ms or (config.compacts and age >= config.max_lag_ms):
            self._roll()
        if config.deletes:
            expired = retention.expired(self._segments, config, stable=self.stable, now=now)
            if expired == len(self._segments):
                self._roll()
            if 0 < expired < len(self._segments):
                self._move_start(self._segments[expired].base)

    def plan_compaction(self, now: float) -> Plan | None:
        """What a compaction would do now; None when there is too little to win.

        Args:
            now: Milliseconds since 1970.
        """
        return plan(self._segments, self.config, self._state.aborted, stable=self.stable, now=now)

    def swap(self, rewritten: Rewritten) -> bool:
        """Put a compacted segment in the place of those that it was made of.

        Returns:
            Whether it could: the segments may have been deleted in the meantime.

        Raises:
            OSError: the disk is full, or fails; the log is as before, or the next start finishes the change.
        """
        first = next((at for at, one in enumerate(self._segments) if one.base == rewritten.base), -1)
        members = self._segments[first : first + rewritten.members] if first >= 0 else []
        whole = len(members) == rewritten.members and self._segments[-1] is not members[-1] and not self.is_closed
        state = batch_index.read_state(index_path(self.folder, members[-1].base)) if whole else None
        if state is None:
            rewritten.drop()
            return False
        rewritten.segment.begun = members[0].begun
        self._commit(rewritten, state)
        self._segments[first : first + rewritten.members] = [rewritten.segment]
        self._state.forget_aborted(0, rewritten.markers)
        for one in members:
            one.close()
        finish_swap(self.folder, rewritten.base, rewritten.beyond, self._checkpoint)
        rewritten.segment.file.path = log_path(self.folder, rewritten.base)
        return True

    def watch(self, waiter: asyncio.Future[None]) -> None:
        """Resolve ``waiter`` at the next append, or when the log closes."""
        self._waiting.add(waiter)

    def unwatch(self, waiter: asyncio.Future[None]) -> None:
        """Forget a waiter."""
        self._waiting.discard(waiter)

    def close(self) -> None:
        """Close the files and wake everyone who waits for records."""
        if self.is_closed:
            return
        self.is_closed = True
        self._wake()
        if len(self._segments[-1].index) >= self._indexed + _WORTH_KEEPING:
            self._keep_index()
        for segment in self._segments:
            segment.close()

    def _write(self, batch: bytearray, header: Header) -> int:
        segment = self._due_segment(header.size)
        offset = segment.end
        batches.place(batch, header, offset)
        try:
            segment.add(
                batch, offset + header.last_offset_delta, NO_TIME if header.is_control else header.max_timestamp
            )
        except OSError as fault:
            raise Refusal(Code.KAFKA_STORAGE_ERROR, f"{segment.file.path}: {fault.strerror}") from fault
        self._state.take(header, offset, bytes(batch) if header.is_control else b"")
        self._wake()
        return offset

    def _due_segment(self, size: int) -> Segment:
        """The segment that takes the next batch."""
        segment, config = self._segments[-1], self.config
        if segment.size and (
            segment.size + size > config.segment_bytes or time.time() * 1000 - segment.begun >= config.segment_ms
        ):
            self._roll()
        return self._segments[-1]

    def _roll(self) -> None:
        """Begin a new segment, unless the last one is empty; on a full disk the last one goes on."""
        if not self._segments[-1].size:
            return
        self._keep_index()
        self._checkpoint("index kept")
        fresh = Segment(self.folder, self.end, flush=self._flush)
        try:
            if fresh.file.size:
                # Whatever lies there is not of this log: it would be one of its segments.
                fresh.file.cut(0, keep=True)
            sync_folder(self.folder)
        except OSError as fault:
            logger.warning("%s: no new segment: %s", self.folder, fault.strerror)
            return
        self._checkpoint("segment begun")
        self._segments.append(fresh)
        self._indexed = 0

    def _commit(self, rewritten: Rewritten, state: dict[str, Any]) -> None:
        """Write the index of a compacted segment: with it, the change has happened."""
        aborted = self._state.aborted_at(rewritten.base, rewritten.beyond)
        left = tuple(one for one in aborted if one.last not in rewritten.markers)
        segment = rewritten.segment
        swap = swap_path(self.folder, rewritten.base, rewritten.beyond)
        try:
            batch_index.write(swap, segment.summary(left), state, segment.index)
        except OSError:
            rewritten.drop()
            raise
        self._checkpoint("compaction decided")

    def _keep_index(self) -> None:
        segment = self._segments[-1]
        try:
            segment.file.sync()
            segment.keep_index(self._state.snapshot(), self._state.aborted_at(segment.base, segment.end))
        except OSError as fault:
            logger.warning("%s: the index of a segment is not kept: %s", self.folder, fault.strerror)

    def _move_start(self, offset: int) -> None:
        path = self.folder / START
        if len(self._segments) > 1 and self._segments[-1].base <= offset:
            # The producers' sequences and open transactions are kept with the segment before, which goes.
            self._keep_index()
        try:
            replace(path, str(offset).encode())
        except OSError as fault:
            raise Refusal(Code.KAFKA_STORAGE_ERROR, f"{path}: {fault.strerror}") from fault
        self._checkpoint("start moved")
        self.start = offset
        while len(self._segments) > 1 and self._segments[1].base <= offset:
            self._segments.pop(0).remove()
            self._checkpoint("segment removed")
        self._state.forget_aborted(self._segments[0].base)

    def _at(self, offset: int) -> int:
        """Number of the segment that holds an offset, or would."""
        return max(bisect_right(self._segments, offset, key=_BASE) - 1, 0)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
