"""Opening a partition's folder: what a crash left half done is finished or undone, then the segments are found again.

A segment whose index is whole is not read; the last one is read from where its index ends. Without a usable index the
headers are read, and the checksums of what a crash can have torn.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.local.broker import batch_index, batches
from headrace.local.broker.batch_index import NO_TIME
from headrace.local.broker.disk import sync_folder
from headrace.local.broker.segment import INDEX, LOG, HeaderReader, Segment, index_path, log_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.local.broker.batches import Header
    from headrace.local.broker.state import PartitionState

logger = logging.getLogger(__name__)
CHECKED_TAIL = 4 * 1024 * 1024
"""Bytes at the end of a log whose checksums are verified when it is opened: what a crash can have torn."""
START = "start"
"""The file with the offset of the first record that can be read."""
_CLEAN, _SWAP = ".clean", ".swap"


def no_checkpoint(_step: str) -> None:
    """The checkpoint of everyday: nothing."""


def clean_path(folder: Path, base: int, beyond: int) -> Path:
    """Where compaction writes what takes the place of the segments in ``[base, beyond)``."""
    return folder / f"{base:020d}-{beyond:020d}{_CLEAN}"


def swap_path(folder: Path, base: int, beyond: int) -> Path:
    """The index of the same; as soon as it is there, the change has happened."""
    return folder / f"{base:020d}-{beyond:020d}{_SWAP}"


def finish_swap(folder: Path, base: int, beyond: int, checkpoint: Callable[[str], None]) -> None:
    """Put a compacted segment in the place of those that it was made of; may be done again after a crash in it.

    Raises:
        OSError: the disk fails; the next start finishes it.
    """
    for one in _bases(folder):
        if base < one < beyond:
            index_path(folder, one).unlink(missing_ok=True)
            log_path(folder, one).unlink(missing_ok=True)
            checkpoint("old segment removed")
    clean = clean_path(folder, base, beyond)
    if clean.exists():
        clean.replace(log_path(folder, base))
        checkpoint("new segment in place")
    # As long as this is not done, the index of this name speaks of another file; but then the next start does it first.
    swap_path(folder, base, beyond).replace(index_path(folder, base))
    checkpoint("new index in place")
    sync_folder(folder)


def migrate(folder: Path) -> None:
    """Move a partition of data format 1, one file beside its folder, into the folder as its first segment.

    Raises:
        OSError: the disk fails.
    """
    old = folder.with_name(f"{folder.name}.log")
    if not old.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    old_start = folder.with_name(f"{folder.name}.start")
    if old_start.exists():
        old_start.replace(folder / START)
    # Last, so that a crash before it is followed by the same again.
    old.replace(log_path(folder, 0))


def open_segments(folder: Path, state: PartitionState, *, flush: bool) -> tuple[list[Segment], int]:
    """Find a partition's segments again.

    Args:
        folder: The partition's; made where it is missing.
        state: Empty; brought to the end of the log.
        flush: Whether appends wait for the disk.

    Returns:
        The segments, at least one, and the offset of the first record that can be read.

    Raises:
        OSError: the folder cannot be read or written.
    """
    migrate(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    start = _start(folder)
    bases = _bases(folder) or [start]
    while len(bases) > 1 and bases[1] <= start:
        # A crash came between the new start and the removal.
        Segment(folder, bases.pop(0), flush=flush).remove()
    segments = _opened(folder, bases, state, flush=flush)
    if segments is None:
        logger.warning("%s: an index is not whole, all segments are read", folder)
        state.aborted.clear()
        segments = _opened(folder, bases, state, flush=flush, trust=False) or []
    # A power cut can take the records away that the start points behind.
    return segments, min(max(start, bases[0]), segments[-1].end)


def _opened(
    folder: Path, bases: list[int], state: PartitionState, *, flush: bool, trust: bool = True
) -> list[Segment] | None:
    """The segments; None when a state is needed that its index has lost."""
    segments: list[Segment] = []
    believed: int | None = None
    for base in bases:
        segment = Segment(folder, base, flush=flush)
        segments.append(segment)
        grows = base == bases[-1]
        adopted = trust and _adopt(segment, state, grows=grows)
        if adopted:
            believed = base
            if not grows:
                continue
        elif grows:
            # What it says of other bytes must not be believed when there are as many again.
            index_path(folder, base).unlink(missing_ok=True)
        if believed is not None:
            snapshot = batch_index.read_state(index_path(folder, believed))
            if snapshot is None:
                for one in segments:
                    one.close()
                return None
            state.restore(snapshot)
            believed = None
        _scan(segment, state, grows=grows)
        if not grows:
            with suppress(OSError):
                segment.keep_index(state.snapshot(), state.aborted_at(base, segment.end))
    return segments


def _adopt(segment: Segment, state: PartitionState, *, grows: bool) -> bool:
    summary = batch_index.read_summary(index_path(segment.folder, segment.base))
    path = log_path(segment.folder, segment.base)
    size = path.stat().st_size if path.exists() else 0
    if summary is None or not (summary.size == size or (grows and summary.size < size)):
        return False
    segment.adopt(summary)
    state.aborted.extend(summary.aborted)
    return True


def _scan(segment: Segment, state: PartitionState, *, grows: bool) -> None:
    """Take the batches behind the indexed ones into account; the first that is not whole and all behind it are cut."""
    file = segment.file
    headers, position, whole_from = HeaderReader(file), segment.size, file.size - CHECKED_TAIL if grows else 0
    while position < file.size:
        header = headers.at(position)
        if header is None:
            return file.cut(position, keep=False)
        # Compaction leaves gaps, but never in the segment that grows.
        sound = header.is_sound and (header.base_offset == segment.end if grows else header.base_offset >= segment.end)
        if sound and position + header.size > file.size:
            return file.cut(position, keep=False)
        batch = b""
        if sound and (header.is_control or position + header.size > whole_from):
            batch = file.read(position, header.size)
            sound = batches.is_intact(batch, header)
        if not sound:
            return file.cut(position, keep=True)
        _take(segment, state, header, position, batch)
        position += header.size
    return None


def _take(segment: Segment, state: PartitionState, header: Header, position: int, batch: bytes) -> None:
    began = header.max_timestamp if not segment.size else segment.begun
    segment.note(header.last_offset, position, header.size, NO_TIME if header.is_control else header.max_timestamp)
    segment.begun = began
    state.take(header, header.base_offset, batch)


def _tidy(folder: Path) -> None:
    """Finish the compactions that had happened, and drop what belongs to those that had not."""
    for path in folder.glob(f"*{_SWAP}"):
        base, _, beyond = path.stem.partition("-")
        finish_swap(folder, int(base), int(beyond), no_checkpoint)
    for pattern in (f"*{_CLEAN}", "*.new"):
        for path in folder.glob(pattern):
            path.unlink()
    for path in folder.glob(f"*{INDEX}"):
        if not path.with_suffix(LOG).exists():
            path.unlink()


def _start(folder: Path) -> int:
    with suppress(OSError, ValueError):
        return int((folder / START).read_bytes())
    return 0


def _bases(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob(f"*{LOG}") if path.stem.isdecimal())
