"""The append-only log of one partition: record batches, one after the other, in one file.

Owns the file, the index of its batches (24 bytes a batch, in memory), the producers' sequences, and which
transactions are open or aborted; all of it is found again from the batch headers when the log is opened.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from headrace.local.broker import batches
from headrace.local.broker.batches import HEADER_SIZE, Header
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.disk import AppendFile, replace
from headrace.local.broker.producers import Producers

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

CHECKED_TAIL = 4 * 1024 * 1024
"""Bytes at the end of a log whose checksums are verified when it is opened: what a crash can have torn."""
_NO_TIME = -1


class Aborted(NamedTuple):
    """One aborted transaction in one partition."""

    last: int
    """Offset of its end marker."""
    first: int
    """Offset of its first record."""
    producer_id: int


class Found(NamedTuple):
    """A record found by time."""

    offset: int
    timestamp: int
    """Milliseconds since 1970; -1 when none was found."""


class Slice(NamedTuple):
    """Where the batches that answer a fetch lie in the file."""

    position: int
    size: int
    end: int
    """Offset behind the last record."""


class PartitionLog:
    """One partition. Opening it cuts a torn tail.

    Args:
        path: The log file; made where it is missing.
        flush: Whether each append waits for the disk.
    """

    def __init__(self, path: Path, *, flush: bool = False) -> None:
        self._file = AppendFile(path, flush=flush)
        self._bases = array("q")
        self._positions = array("q")
        self._times = array("q")
        self._producers = Producers()
        self._waiting: set[asyncio.Future[None]] = set()
        self.open_transactions: dict[int, int] = {}
        """First offset of each producer's open transaction, the oldest first."""
        self.aborted: list[Aborted] = []
        self.end = 0
        """Offset of the next record."""
        self._recover()
        self._start_path = path.with_suffix(".start")
        self.start = self._recovered_start()
        """Offset of the first record that can be read."""

    @property
    def stable(self) -> int:
        """The last stable offset: nothing from it on is decided, so ``read_committed`` stops there."""
        # Dictionaries keep the order of insertion, which is that of the first offsets.
        return next(iter(self.open_transactions.values()), self.end)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    def append(self, records: memoryview, limit: int) -> int:
        """Take one batch of a producer; a repeat of a batch that is there is not written again.

        Args:
            records: The batch; the header and the checksum are all that is looked at.
            limit: Most bytes of a batch.

        Returns:
            The offset of its first record.

        Raises:
            Refusal: the batch is not acceptable, its sequence is wrong, or the disk is full.
        """
        header = batches.accept(records, limit)
        if header.producer_id >= 0:
            repeated = self._producers.repeated(header)
            if repeated is not None:
                return repeated
        return self._write(bytearray(records), header)

    def end_transaction(self, producer_id: int, epoch: int, *, commit: bool) -> None:
        """Append the end marker of a producer's transaction; nothing happens when it has none open here.

        Raises:
            Refusal: the disk is full.
        """
        if producer_id in self.open_transactions:
            batch = batches.marker(producer_id, epoch, commit=commit)
            self._write(batch, batches.read_header(batch))

    def find(self, offset: int, limit: int, most: int) -> Slice:
        """Where the batches from the one that holds ``offset`` lie, in the file.

        Args:
            offset: Offset of the first record wanted.
            limit: Offset behind the last record that the reader may see.
            most: Bytes that fit; the first batch is given whole, whatever its size.
        """
        if offset >= min(limit, self.end):
            return Slice(0, 0, offset)
        first = max(bisect_right(self._bases, offset) - 1, 0)
        position = self._positions[first]
        beyond = bisect_left(self._bases, limit)
        # The first batch that ends behind the allowed bytes is out, unless it is the very first.
        fitting = bisect_right(self._positions, position + most) - 1
        if fitting == len(self._positions) - 1 and self.size <= position + most:
            fitting += 1
        last = max(min(beyond, fitting), first + 1)
        return Slice(position, self._position(last) - position, self._base(last))

    def read(self, part: Slice) -> bytes:
        """The bytes of a slice."""
        return self._file.read(part.position, part.size) if part.size else b""

    def aborted_between(self, first: int, end: int) -> list[Aborted]:
        """The aborted transactions that have records in ``[first, end)``."""
        start = bisect_left(self.aborted, (first, -1, -1))
        return [one for one in self.aborted[start:] if one.first < end]

    def find_time(self, timestamp: int) -> Found:
        """The first record whose timestamp is at least ``timestamp`` (milliseconds), or offset -1."""
        for index in range(self._first_readable(), len(self._bases)):
            if self._times[index] >= timestamp:
                for record in batches.records_of(self._batch(index)):
                    if record.timestamp >= timestamp and record.offset >= self.start:
                        return Found(record.offset, record.timestamp)
        return Found(-1, _NO_TIME)

    def find_latest_time(self) -> Found:
        """The first of the records with the highest timestamp, or offset -1 in an empty log."""
        times = self._times[self._first_readable() :]
        highest = max(times, default=_NO_TIME)
        return self.find_time(highest) if highest > _NO_TIME else Found(-1, _NO_TIME)

    def delete_before(self, offset: int) -> None:
        """Make the records before ``offset`` unreadable; their bytes stay in the file.

        Raises:
            Refusal: the offset is not in the log, or the disk is full.
        """
        if not 0 <= offset <= self.end:
            raise Refusal(Code.OFFSET_OUT_OF_RANGE)
        if offset > self.start:
            try:
                replace(self._start_path, str(offset).encode())
            except OSError as fault:
                raise Refusal(Code.KAFKA_STORAGE_ERROR, f"{self._start_path}: {fault.strerror}") from fault
            self.start = offset

    def watch(self, waiter: asyncio.Future[None]) -> None:
        """Resolve ``waiter`` at the next append, or when the log closes."""
        self._waiting.add(waiter)

    def unwatch(self, waiter: asyncio.Future[None]) -> None:
        """Forget a waiter."""
        self._waiting.discard(waiter)

    def close(self) -> None:
        """Close the file and wake everyone who waits for records."""
        self._wake()
        self._file.close()

    def _write(self, batch: bytearray, header: Header) -> int:
        offset = self.end
        batches.place(batch, header, offset)
        try:
            position = self._file.append(batch)
        except OSError as fault:
            raise Refusal(Code.KAFKA_STORAGE_ERROR, f"{self._file.path}: {fault.strerror}") from fault
        self._index(header, position, bytes(batch) if header.is_control else b"")
        self._wake()
        return offset

    def _index(self, header: Header, position: int, control: bytes) -> None:
        """Take a batch that is in the file into account; ``control`` is the whole batch where it is a marker."""
        base = self.end
        self._bases.append(base)
        self._positions.append(position)
        self._times.append(_NO_TIME if header.is_control else header.max_timestamp)
        self.end = base + header.last_offset_delta + 1
        if header.is_control:
            first = self.open_transactions.pop(header.producer_id, None)
            if first is not None and not batches.is_commit(control):
                self.aborted.append(Aborted(base, first, header.producer_id))
            self._producers.ended(header)
        elif header.producer_id >= 0:
            self._producers.appended(header, base)
            if header.is_transactional:
                self.open_transactions.setdefault(header.producer_id, base)

    def _recover(self) -> None:
        size, position = self._file.size, 0
        while position < size:
            head = self._file.read(position, HEADER_SIZE)
            if len(head) < HEADER_SIZE:
                return self._file.cut(position, keep=False)
            header = batches.read_header(head)
            sound = header.is_sound and header.base_offset == self.end
            if sound and position + header.size > size:
                return self._file.cut(position, keep=False)
            checked = header.is_control or position + header.size > size - CHECKED_TAIL
            whole = self._file.read(position, header.size) if sound and checked else b""
            if not sound or (checked and not batches.is_intact(whole, header)):
                return self._file.cut(position, keep=True)
            self._index(header, position, whole)
            position += header.size
        return None

    def _recovered_start(self) -> int:
        with suppress(OSError, ValueError):
            # A power cut can take the records away that the start offset pointed behind.
            return min(int(self._start_path.read_bytes()), self.end)
        return 0

    def _first_readable(self) -> int:
        return max(bisect_right(self._bases, self.start) - 1, 0)

    def _position(self, index: int) -> int:
        return self._positions[index] if index < len(self._positions) else self.size

    def _base(self, index: int) -> int:
        return self._bases[index] if index < len(self._bases) else self.end

    def _batch(self, index: int) -> bytes:
        position = self._position(index)
        return self._file.read(position, self._position(index + 1) - position)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
