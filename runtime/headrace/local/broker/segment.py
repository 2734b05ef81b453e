"""One file of a partition's log: batches one after the other, from a base offset on, with an index beside it.

The last segment of a log is the one that grows; the others never change, but compaction puts others in their place.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from headrace.local.broker import batch_index
from headrace.local.broker.batch_index import NO_TIME, Aborted, BatchIndex, Summary
from headrace.local.broker.batches import HEADER_SIZE, read_header
from headrace.local.broker.disk import AppendFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.local.broker.batch_index import Place
    from headrace.local.broker.batches import Header

logger = logging.getLogger(__name__)
_CHUNK = 64 * 1024
LOG, INDEX = ".log", ".index"


def log_path(folder: Path, base: int) -> Path:
    """The file of the batches from ``base`` on; names sort as offsets do."""
    return folder / f"{base:020d}{LOG}"


def index_path(folder: Path, base: int) -> Path:
    """The file of the index of a segment."""
    return folder / f"{base:020d}{INDEX}"


class Segment:
    """One segment.

    Args:
        folder: The partition's.
        base: Offset of its first record, or where that would be.
        flush: Whether each append waits for the disk.
    """

    def __init__(self, folder: Path, base: int, *, flush: bool) -> None:
        self.folder = folder
        self.base = base
        self._flush = flush
        self._file: AppendFile | None = None
        self._index: BatchIndex | None = BatchIndex()
        self._may_be_new = True
        self.size = 0
        self.end = base
        """Offset behind its last record."""
        self.time = NO_TIME
        """Highest timestamp in milliseconds."""
        self.cleaned = False
        self.horizon: int | None = None
        self.begun = time.time() * 1000
        """When its first batch came, in milliseconds; as near as the file can tell after a restart."""

    @property
    def file(self) -> AppendFile:
        """The batches' file, opened when it is first needed; one that is gone does not come back to life."""
        if self._file is None:
            path = log_path(self.folder, self.base)
            self._file = AppendFile(path, flush=self._flush, create=self._may_be_new)
        return self._file

    @property
    def index(self) -> BatchIndex:
        """Where the batches lie, read when it is first needed: from the file beside, else from their headers."""
        if self._index is None:
            self._index = batch_index.read_index(index_path(self.folder, self.base)) or self._from_headers()
        return self._index

    def adopt(self, summary: Summary) -> None:
        """Believe the kept index about the bytes that it covers."""
        self._index = None
        self._may_be_new = False
        self.size, self.end, self.time = summary.size, summary.end, summary.time
        self.begun, self.cleaned, self.horizon = summary.begun, summary.cleaned, summary.horizon

    def add(self, data: bytes | bytearray, last: int, timestamp: int) -> None:
        """Append a batch.

        Raises:
            OSError: the disk is full, or fails; the segment is as before.
        """
        position = self.file.append(data)
        self.note(last, position, len(data), timestamp)

    def note(self, last: int, position: int, size: int, timestamp: int) -> None:
        """Take a batch into account that is in the file."""
        if not self.size:
            self.begun = time.time() * 1000
        self.index.add(last, position, timestamp)
        self.size = position + size
        self.end = last + 1
        if timestamp > self.time:  # noqa: PLR1730 - this is every append's way, and max() costs three times as much
            self.time = timestamp

    def find(self, offset: int, bound: int, most: int) -> Place | None:
        """See :meth:`BatchIndex.find`."""
        return self.index.find(offset, bound, most, self.size)

    def since(self, timestamp: int, offset: int) -> Iterator[bytes]:
        """The batches that have a record at or after a time; see :meth:`BatchIndex.since`."""
        for position, size in self.index.since(timestamp, offset, self.size):
            yield self.file.read(position, size)

    def keep_index(self, state: dict[str, Any], aborted: tuple[Aborted, ...]) -> None:
        """Write the index beside the segment.

        Args:
            state: The partition's, at the end of the segment.
            aborted: The transactions whose abort marker lies in it.

        Raises:
            OSError: the disk is full, or fails.
        """
        batch_index.write(index_path(self.folder, self.base), self.summary(aborted), state, self.index)

    def summary(self, aborted: tuple[Aborted, ...]) -> Summary:
        """What the index says of it."""
        return Summary(self.size, self.end, self.time, self.begun, aborted, self.cleaned, self.horizon)

    def take(self, file: AppendFile, index: BatchIndex) -> None:
        """Go on with a file and an index that are there already."""
        self._file, self._index = file, index

    def remove(self) -> None:
        """Close and delete the files; the index first, so that none is left that speaks of another file."""
        self.close()
        with suppress(OSError):
            index_path(self.folder, self.base).unlink(missing_ok=True)
            log_path(self.folder, self.base).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._may_be_new = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def _from_headers(self) -> BatchIndex:
        logger.warning("%s is not whole, the segment is read instead", index_path(self.folder, self.base))
        index, headers, position = BatchIndex(), HeaderReader(self.file), 0
        while position < self.size and (header := headers.at(position)) is not None:
            index.add(header.last_offset, position, NO_TIME if header.is_control else header.max_timestamp)
            position += header.size
        return index


class HeaderReader:
    """Reads batch headers of a file, many at a time where the batches are small."""

    def __init__(self, file: AppendFile) -> None:
        self._file = file
        self._start = 0
        self._data = b""

    def at(self, position: int) -> Header | None:
        """The header at a position; None where the file ends before it does."""
        offset = position - self._start
        if not 0 <= offset <= len(self._data) - HEADER_SIZE:
            self._start, self._data, offset = position, self._file.read(position, _CHUNK), 0
        return read_header(self._data, offset) if len(self._data) - offset >= HEADER_SIZE else None
