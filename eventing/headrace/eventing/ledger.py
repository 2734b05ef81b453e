"""What is done of one partition, also out of order, and how that survives a crash.

Events of a partition finish in any order, but Kafka's committed offset is a single number. So that a crash neither
loses an event nor answers one twice, the commit's metadata names what is done beyond the offset, and how often an
unfinished event was tried. Both travel in the same transaction as the results.

Invariant: an offset is admitted at most once while this member owns the partition, and every admitted offset below
the committed one is done.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from headrace.eventing.log import Committed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

WINDOW = 8192
"""Offsets beyond the committed one that may be done: 1 KiB as a bitmap, well within Kafka's 4,096 bytes of metadata."""
MOST_ATTEMPTS_KEPT = 32
"""Unfinished, failed events of a partition whose attempts are persisted; more would outgrow the metadata."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often an event was tried, and since when."""

    count: int = 0
    first: float = 0.0
    """Seconds since the epoch of the first failed attempt; 0 before there was one."""


class Ledger:
    """The progress of one partition; owned by one event loop.

    Args:
        committed: What the group committed last; None for a partition never committed.
    """

    def __init__(self, committed: Committed | None = None) -> None:
        self.committed = committed
        """What is committed, as far as is known; kept by who commits."""
        self._next = committed.offset if committed else None
        self._open: dict[int, Attempts] = {}
        self._done: set[int] = set()
        self._restored: dict[int, Attempts] = {}
        if committed:
            self._done, self._restored = _read(committed)

    def admit(self, offset: int) -> bool:
        """Take an offset into work; False when it is done already, or in work."""
        fresh = self._next is None or offset >= self._next
        if offset in self._done or offset in self._open:
            return False
        # Looked up last: it goes over everything that is open, and one that is fresh is never below it.
        if not fresh and offset < self._base(self._open.keys(), self._done):
            return False
        self._open[offset] = self._restored.pop(offset, Attempts())
        if fresh:
            self._next = offset + 1
        return True

    def attempts(self, offset: int) -> Attempts:
        """The failed attempts at an open offset so far."""
        return self._open[offset]

    def failed(self, offset: int, now: float) -> Attempts:
        """Count one more failed attempt at an open offset, at ``now`` (seconds since the epoch)."""
        before = self._open[offset]
        self._open[offset] = Attempts(before.count + 1, before.first or now)
        return self._open[offset]

    def progress(self, finishing: AbstractSet[int] = frozenset()) -> Committed:
        """What to commit when these open offsets are done with this very commit. Changes nothing: it may fail."""
        remaining = self._open.keys() - finishing
        done = self._done | finishing
        base = self._base(remaining, done)
        tried = {offset: a for offset, a in (self._restored | self._open).items() if offset not in finishing}
        return Committed(base, _write(base, (offset for offset in done if offset >= base), tried))

    def complete(self, finished: AbstractSet[int]) -> None:
        """These open offsets are done, and committed as such."""
        for offset in finished:
            del self._open[offset]
        self._done |= finished
        base = self._base(self._open.keys(), self._done)
        self._next = max(base, self._next or 0)
        self._done = {offset for offset in self._done if offset >= base}

    def reached(self, position: int) -> bool:
        """Every record before this offset was admitted; True where that moves the offset to commit.

        What lies between the last record and the position is none: markers of transactions, or what compaction left.
        """
        before = self._base(self._open.keys(), self._done)
        self._next = max(position, self._next or 0)
        base = self._base(self._open.keys(), self._done)
        self._next = max(base, self._next)
        self._done = {offset for offset in self._done if offset >= base}
        return base != before

    @property
    def open(self) -> int:
        """Offsets in work."""
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether the distance between the oldest open and the newest offset has reached the window."""
        return bool(self._open) and self._next is not None and self._next - min(self._open) >= WINDOW

    def _base(self, unfinished: AbstractSet[int], done: AbstractSet[int]) -> int:
        """The lowest offset that is not done."""
        if unfinished:
            return min(unfinished)
        base = self._next or 0
        while base in done:  # restored as done, and nothing before it is open
            base += 1
        return base


def _write(base: int, done: Iterable[int], tried: dict[int, Attempts]) -> str:
    document: dict[str, object] = {}
    bits = 0
    for offset in done:
        bits |= 1 << (offset - base)
    if bits:
        document["d"] = base64.b64encode(bits.to_bytes((bits.bit_length() + 7) // 8, "little")).decode()
    failed = sorted((offset, a) for offset, a in tried.items() if a.count and offset >= base)[:MOST_ATTEMPTS_KEPT]
    if failed:
        document["a"] = [[offset - base, a.count, round(a.first, 3)] for offset, a in failed]
    return orjson.dumps(document).decode() if document else ""


def _read(committed: Committed) -> tuple[set[int], dict[int, Attempts]]:
    try:
        document = orjson.loads(committed.metadata) if committed.metadata else {}
        bits = int.from_bytes(base64.b64decode(document.get("d", "")), "little")
        tried = {committed.offset + o: Attempts(count, first) for o, count, first in document.get("a", [])}
    except (ValueError, TypeError, AttributeError):
        return set(), {}  # another program's metadata: its offset is right all the same
    done = {committed.offset + place for place in range(bits.bit_length()) if bits >> place & 1}
    return done, tried
