"""Where the batches of a segment lie, in memory and in the file beside it that spares a start the reading of headers.

The file is a copy of what the segment's own bytes tell: where it is missing or wrong, the segment is read instead. It
has four parts, each with its checksum: a summary, the partition's state at its end, and the arrays, which are read
when a reader first comes; so a start reads a few hundred bytes a segment.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from headrace.local.broker.checksum import crc32c
from headrace.local.broker.disk import replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_TIME = -1
"""The time of a batch that holds no record of a user."""
_HEAD = struct.Struct("<4sIIIIII")
_MAGIC = b"HRI1"
_COLUMN = 8
_BIG_ENDIAN = sys.byteorder == "big"


class Aborted(NamedTuple):
    """One aborted transaction in one partition."""

    last: int
    """Offset of its end marker."""
    first: int
    """Offset of its first record."""
    producer_id: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a start must know of a segment."""

    size: int
    """Bytes of the log file that the index covers."""
    end: int
    """Offset behind the last record in these bytes."""
    time: int
    """Highest timestamp in milliseconds, -1 without any."""
    begun: float = 0
    """When its first batch came, in milliseconds."""
    aborted: tuple[Aborted, ...] = ()
    """The transactions whose abort marker lies here."""
    cleaned: bool = False
    """Whether compaction wrote the segment."""
    horizon: int | None = None
    """Time in milliseconds from which another compaction finds something to remove in it; None for never."""


class Place(NamedTuple):
    """Some batches of a segment that follow each other."""

    position: int
    size: int
    end: int
    """Offset behind the last record."""
    more: bool
    """Whether the batch behind them may be read as well, but does not fit."""


class BatchIndex:
    """Last offset, position and time of every batch of a segment: 32 bytes a batch."""

    def __init__(self) -> None:
        self._lasts = array("q")
        self._positions = array("q")
        self._times = array("q")
        self._highs = array("q")

    def __len__(self) -> int:
        return len(self._lasts)

    def add(self, last: int, position: int, time: int) -> None:
        """Enter the next batch."""
        self._lasts.append(last)
        self._positions.append(position)
        self._times.append(time)
        # The highest so far only grows, so the first batch from a time on is found by halving.
        highs = self._highs
        highs.append(highs[-1] if highs and highs[-1] > time else time)

    def find(self, offset: int, bound: int, most: int, size: int) -> Place | None:
        """The batches from the one that holds ``offset``, or the next one behind it.

        Args:
            offset: Offset of the first record wanted.
            bound: Offset behind the last record that the reader may see, where a batch ends.
            most: Bytes that fit; the first batch is given whole, whatever its size.
            size: Bytes of the segment.
        """
        first = bisect_left(self._lasts, offset)
        beyond = bisect_left(self._lasts, bound)
        if first >= beyond:
            return None
        position = self._positions[first]
        fitting = bisect_right(self._positions, position + most) - 1
        if fitting == len(self) - 1 and size <= position + most:
            fitting += 1
        last = max(min(beyond, fitting), first + 1)
        return Place(position, self._position(last, size) - position, self._lasts[last - 1] + 1, last < beyond)

    def since(self, timestamp: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """Position and size of each batch that has a record at or after the time, and its end behind ``offset``."""
        first = bisect_left(self._lasts, offset)
        for at in range(bisect_left(self._highs, timestamp, first), len(self)):
            if self._times[at] >= timestamp:
                yield self._positions[at], self._position(at + 1, size) - self._positions[at]

    def latest_from(self, offset: int) -> int:
        """The highest timestamp of the batches that end behind ``offset``; -1 without any."""
        return max(self._times[bisect_left(self._lasts, offset) :], default=NO_TIME)

    def columns(self) -> bytes:
        """The arrays, as they are kept in the file."""
        return b"".join(_little(one).tobytes() for one in (self._lasts, self._positions, self._times))

    @classmethod
    def from_columns(cls, data: bytes) -> BatchIndex:
        """The index that :meth:`columns` was asked of."""
        made = cls()
        size = len(data) // 3
        for number, column in enumerate((made._lasts, made._positions, made._times)):
            column.frombytes(data[number * size : (number + 1) * size])
            if _BIG_ENDIAN:
                column.byteswap()
        made._highs.extend(accumulate(made._times, max))
        return made

    def _position(self, index: int, size: int) -> int:
        return self._positions[index] if index < len(self) else size


def _little(column: array[int]) -> array[int]:
    copy = column[:]
    if _BIG_ENDIAN:
        copy.byteswap()
    return copy


def write(path: Path, summary: Summary, state: dict[str, Any], index: BatchIndex) -> None:
    """Keep an index, in one step.

    Raises:
        OSError: the disk is full, or fails.
    """
    parts = (
        orjson.dumps(asdict(summary) | {"aborted": [list(one) for one in summary.aborted]}),
        orjson.dumps(state),
        index.columns(),
    )
    checks = [crc32c(part) for part in parts]
    sizes = [len(part) for part in parts]
    replace(path, _HEAD.pack(_MAGIC, *sizes, *checks) + b"".join(parts))


def read_summary(path: Path) -> Summary | None:
    """The summary that was kept; None where there is none, or it is not whole."""
    data = _part(path, 0)
    if data is None:
        return None
    fields = orjson.loads(data)
    return Summary(**fields | {"aborted": tuple(Aborted(*one) for one in fields["aborted"])})


def read_state(path: Path) -> dict[str, Any] | None:
    """The partition's state at the end of the bytes that the index covers; None as for :func:`read_summary`."""
    data = _part(path, 1)
    return None if data is None else orjson.loads(data)


def read_index(path: Path) -> BatchIndex | None:
    """The index that was kept; None as for :func:`read_summary`."""
    data = _part(path, 2)
    return None if data is None or len(data) % (3 * _COLUMN) else BatchIndex.from_columns(data)


def _part(path: Path, number: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return None
            magic, *fields = _HEAD.unpack(head)
            sizes, checks = fields[:3], fields[3:]
            if magic != _MAGIC:
                return None
            file.seek(sum(sizes[:number]), 1)
            data = file.read(sizes[number])
    except OSError:
        return None
    return data if len(data) == sizes[number] and crc32c(data) == checks[number] else None
