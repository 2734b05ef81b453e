"""Compaction: of the records with one key, the last stays (``cleanup.policy=compact``).

Three steps. The plan names the segments; the work reads them and writes new ones beside them, in a thread, for it is
slow and they never change; the log then puts those in their place, one after the other from the first on: so what a
crash leaves is the log before or after each. Everything below the cleaned end is gone through every time, so that the
records of aborted transactions go before their markers do, and older records before the tombstone of their key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from headrace.local.broker import entries
from headrace.local.broker.batch_index import NO_TIME
from headrace.local.broker.batches import is_commit, read_header
from headrace.local.broker.disk import AppendFile
from headrace.local.broker.recovery import clean_path
from headrace.local.broker.segment import HeaderReader, Segment, log_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from headrace.local.broker.batch_index import Aborted
    from headrace.local.broker.batches import Header
    from headrace.local.broker.configs import LogConfig
    from headrace.local.broker.entries import Entry

MOST_KEYS = 2_000_000
"""Keys that one compaction remembers: beyond them it leaves the rest of the log to the next one."""
_LONGEST_KEY = 32
"""Bytes of a key above which its digest is remembered instead."""
_WRITE_SIZE = 1 << 20


class CompactionStoppedError(Exception):
    """The broker stops, or the log is gone: the work is given up."""


@dataclass(frozen=True, slots=True)
class Source:
    """One segment to compact."""

    base: int
    beyond: int
    """Where the next segment begins."""
    size: int
    cleaned: bool
    horizon: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one compaction reads, and by which rules."""

    folder: Path
    sources: tuple[Source, ...]
    aborted: dict[int, list[Aborted]]
    """By producer."""
    segment_bytes: int
    delete_retention_ms: int
    now: float


def plan(
    segments: Sequence[Segment], config: LogConfig, aborted: Iterable[Aborted], *, stable: int, now: float
) -> Plan | None:
    """Which segments to compact; None when it is not worth it yet.

    The last segment that holds something is left alone: readers find the end of the log by it.
    """
    if not config.compacts:
        return None
    last = max((at for at, one in enumerate(segments) if one.size), default=0)
    chosen: list[Source] = []
    due = False
    for segment, following in pairwise(segments[: last + 1]):
        too_young = config.min_lag_ms and segment.time + config.min_lag_ms > now
        if following.base > stable or too_young:
            break
        chosen.append(Source(segment.base, following.base, segment.size, segment.cleaned, segment.horizon))
        waits_long = not segment.cleaned and NO_TIME < segment.time < now - config.max_lag_ms
        due = due or waits_long or (segment.horizon is not None and segment.horizon <= now)
    dirty = sum(one.size for one in chosen if not one.cleaned)
    if not due and not (dirty and dirty >= config.dirty_ratio * sum(one.size for one in chosen)):
        return None
    by_producer: dict[int, list[Aborted]] = {}
    for one in aborted:
        by_producer.setdefault(one.producer_id, []).append(one)
    return Plan(segments[0].folder, tuple(chosen), by_producer, config.segment_bytes, config.delete_retention_ms, now)


@dataclass(slots=True)
class Rewritten:
    """A compacted segment that is written, and not in its place yet."""

    base: int
    beyond: int
    members: int
    """How many segments it stands for."""
    segment: Segment
    markers: set[int] = field(default_factory=set)
    """Offsets of the end markers that are in it no more."""
    is_changed: bool = False
    """Whether anything was left out or written anew."""

    def drop(self) -> None:
        """Delete it again."""
        self.segment.close()
        clean_path(self.segment.folder, self.base, self.beyond).unlink(missing_ok=True)


class Compaction:
    """The work of one plan; slow, and safe in a thread: it opens its own files.

    Args:
        planned: What to do.
        is_stopped: Asked often; True ends the work with :class:`CompactionStoppedError`.
    """

    def __init__(self, planned: Plan, is_stopped: Callable[[], bool] = lambda: False) -> None:
        self._plan = planned
        self._is_stopped = is_stopped
        self._latest: dict[bytes, int] = {}
        self._retained: set[int] = set()
        """Producers of whose present transaction a record stays."""

    def survey(self) -> list[tuple[Source, ...]]:
        """Learn the last offset of every key.

        Returns:
            The segments by the new ones that they become, each no larger than a segment may be; in order.

        Raises:
            Refusal: a batch cannot be taken apart.
            OSError: the disk fails.
        """
        sources = self._plan.sources
        first = next((at for at, one in enumerate(sources) if not one.cleaned), len(sources))
        count = len(sources)
        for number, source in enumerate(sources[first:], start=first + 1):
            for header, batch in self._batches(source):
                if not header.is_control and not self._is_aborted(header):
                    for entry in entries.entries(batch, header):
                        if entry.key is not None:
                            self._latest[_short(entry.key)] = header.base_offset + entry.offset_delta
            if len(self._latest) > MOST_KEYS:
                count = number
                break
        return _grouped(sources[:count], self._plan.segment_bytes)

    def rewrite(self, group: tuple[Source, ...]) -> Rewritten:
        """Write the segment that takes the place of a group; call in the order of the groups.

        Raises:
            Refusal: a batch cannot be taken apart.
            OSError: the disk is full, or fails; nothing is left of the segment.
        """
        base, beyond, folder = group[0].base, group[-1].beyond, self._plan.folder
        path = clean_path(folder, base, beyond)
        path.unlink(missing_ok=True)
        segment = Segment(folder, base, flush=False)
        segment.cleaned = True
        segment.take(AppendFile(path), segment.index)
        made = Rewritten(base, beyond, len(group), segment, is_changed=len(group) > 1 or not group[0].cleaned)
        try:
            pending = bytearray()
            for header, batch in (one for source in group for one in self._batches(source)):
                self._rewrite_batch(made, pending, header, batch)
            segment.file.append(pending)
            segment.file.sync()
            made.is_changed = made.is_changed or segment.horizon != group[0].horizon
        except BaseException:
            made.drop()
            raise
        return made

    def _rewrite_batch(self, made: Rewritten, pending: bytearray, header: Header, batch: bytes) -> None:
        kept = self._kept_marker(made, header, batch) if header.is_control else self._kept(made, header, batch)
        made.is_changed = made.is_changed or kept is not batch
        if kept is None:
            return
        time = NO_TIME if header.is_control else read_header(kept).max_timestamp
        made.segment.note(header.last_offset, made.segment.size, len(kept), time)
        pending += kept
        if len(pending) >= _WRITE_SIZE:
            made.segment.file.append(pending)
            pending.clear()

    def _kept(self, made: Rewritten, header: Header, batch: bytes) -> bytes | None:
        """What stays of a batch of records."""
        if self._is_aborted(header):
            return None
        kept = [one for one in entries.entries(batch, header) if self._stays(header, one)]
        if not kept:
            return None
        if header.is_transactional:
            self._retained.add(header.producer_id)
        horizon = None
        if any(one.is_tombstone for one in kept):
            horizon = header.horizon
            if horizon is None:
                horizon = int(self._plan.now) + self._plan.delete_retention_ms
            _earlier(made.segment, horizon)
        if len(kept) == header.records and horizon == header.horizon:
            return batch
        return entries.rebuilt(header, kept, None if horizon == header.horizon else horizon)

    def _stays(self, header: Header, entry: Entry) -> bool:
        if entry.key is None:
            return False
        if self._latest.get(_short(entry.key), -1) > header.base_offset + entry.offset_delta:
            return False
        return not (entry.is_tombstone and header.horizon is not None and header.horizon <= self._plan.now)

    def _kept_marker(self, made: Rewritten, header: Header, batch: bytes) -> bytes | None:
        """The marker, as long as something of its transaction is left, or a slow reader may look for it."""
        gone_at = header.max_timestamp + self._plan.delete_retention_ms
        if header.producer_id in self._retained:
            self._retained.discard(header.producer_id)
            return batch
        if gone_at > self._plan.now:
            _earlier(made.segment, gone_at)
            return batch
        if not is_commit(batch):
            made.markers.add(header.base_offset)
        return None

    def _is_aborted(self, header: Header) -> bool:
        known = self._plan.aborted.get(header.producer_id, ()) if header.is_transactional else ()
        return any(one.first <= header.base_offset <= one.last for one in known)

    def _batches(self, source: Source) -> Iterator[tuple[Header, bytes]]:
        try:
            file = AppendFile(log_path(self._plan.folder, source.base), create=False)
        except FileNotFoundError:
            # Deleted in the meantime: the log will not take what this would come to.
            raise CompactionStoppedError from None
        headers, position = HeaderReader(file), 0
        try:
            while position < source.size and (header := headers.at(position)) is not None:
                if self._is_stopped():
                    raise CompactionStoppedError
                yield header, file.read(position, header.size)
                position += header.size
        finally:
            file.close()


def _grouped(sources: Sequence[Source], most: int) -> list[tuple[Source, ...]]:
    groups: list[list[Source]] = []
    size = 0
    for source in sources:
        if not groups or size + source.size > most:
            groups.append([])
            size = 0
        groups[-1].append(source)
        size += source.size
    return [tuple(group) for group in groups]


def _earlier(segment: Segment, horizon: int) -> None:
    segment.horizon = horizon if segment.horizon is None else min(segment.horizon, horizon)


def _short(key: bytes) -> bytes:
    """The key, or the digest of a long one, which no short key equals."""
    return key if len(key) <= _LONGEST_KEY else hashlib.blake2b(key, digest_size=_LONGEST_KEY + 1).digest()
