"""What one partition knows of its idempotent producers: sequences, to drop repeats and to notice gaps (KIP-98)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.local.broker.codes import Code, Refusal

if TYPE_CHECKING:
    from headrace.local.broker.batches import Header

_REMEMBERED = 5
"""Batches a producer may have in flight, and so may send again (KIP-98)."""
_MOST_KNOWN = 10_000
"""Producers that one partition remembers, the last ones: every start of an idempotent producer is a new one."""
_SEQUENCES = 1 << 31
"""Sequence numbers begin anew after this many."""


@dataclass(slots=True)
class _Producer:
    epoch: int
    next_sequence: int = 0
    recent: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """First sequence, count and base offset of the last batches."""


class Producers:
    """The sequence state of one partition."""

    def __init__(self) -> None:
        self._known: dict[int, _Producer] = {}

    def repeated(self, header: Header) -> int | None:
        """The base offset of the batch when the log has it already; None when it is the next one.

        Raises:
            Refusal: a batch is missing in between, or the producer's epoch is over.
        """
        known = self._known.get(header.producer_id)
        if known is None:
            # Its earlier batches may have been in a log that was deleted: any first sequence is the first one here.
            return None
        if header.producer_epoch < known.epoch:
            raise Refusal(Code.INVALID_PRODUCER_EPOCH, "A newer instance of this producer has taken over")
        if header.producer_epoch > known.epoch:
            if header.base_sequence != 0:
                raise Refusal(Code.OUT_OF_ORDER_SEQUENCE_NUMBER, "A new producer epoch begins with sequence 0")
            return None
        for sequence, count, offset in known.recent:
            if sequence == header.base_sequence and count == header.records:
                return offset
        if header.base_sequence != known.next_sequence:
            raise Refusal(
                Code.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Sequence {known.next_sequence} comes next, not {header.base_sequence}",
            )
        return None

    def appended(self, header: Header, offset: int) -> None:
        """Remember a batch that the log has taken at ``offset``."""
        known = self._of(header)
        known.next_sequence = (header.base_sequence + header.records) % _SEQUENCES
        known.recent.append((header.base_sequence, header.records, offset))

    def ended(self, header: Header) -> None:
        """Remember the end marker of a transaction: it may raise the epoch, which fences older instances."""
        self._of(header)

    def snapshot(self) -> list[Any]:
        """Everything known, as JSON has it."""
        return [
            [producer_id, one.epoch, one.next_sequence, list(one.recent)] for producer_id, one in self._known.items()
        ]

    def restore(self, rows: list[Any]) -> None:
        """Know what a snapshot knew, and nothing else."""
        self._known = {
            producer_id: _Producer(epoch, sequence, deque(map(tuple, recent), maxlen=_REMEMBERED))
            for producer_id, epoch, sequence, recent in rows
        }

    def _of(self, header: Header) -> _Producer:
        known = self._known.pop(header.producer_id, None)
        if known is None or header.producer_epoch > known.epoch:
            known = _Producer(header.producer_epoch)
        # Put in anew, so that the order of the dictionary is that of the last use.
        self._known[header.producer_id] = known
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return known
