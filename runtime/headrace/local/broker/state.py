"""What the batches of a partition add up to: its producers' sequences, and which transactions are open or aborted."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from headrace.local.broker import batches
from headrace.local.broker.batch_index import Aborted
from headrace.local.broker.producers import Producers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.local.broker.batches import Header


class PartitionState:
    """Follows the batches of one partition, in order."""

    def __init__(self) -> None:
        self.producers = Producers()
        self.open_transactions: dict[int, int] = {}
        """First offset of each producer's open transaction, the oldest first."""
        self.aborted: list[Aborted] = []
        """By the offset of the end marker."""

    def take(self, header: Header, base: int, control: bytes) -> None:
        """Take a batch into account that lies at offset ``base``; ``control`` is the whole of it if it is a marker."""
        if header.is_control:
            first = self.open_transactions.pop(header.producer_id, None)
            if first is not None and not batches.is_commit(control):
                self.aborted.append(Aborted(base, first, header.producer_id))
            self.producers.ended(header)
        elif header.producer_id >= 0:
            self.producers.appended(header, base)
            if header.is_transactional:
                self.open_transactions.setdefault(header.producer_id, base)

    def aborted_between(self, first: int, end: int) -> list[Aborted]:
        """The aborted transactions that have records in ``[first, end)``."""
        return [one for one in self.aborted[self._marker(first) :] if one.first < end]

    def aborted_at(self, first: int, end: int) -> tuple[Aborted, ...]:
        """The aborted transactions whose marker lies in ``[first, end)``."""
        return tuple(self.aborted[self._marker(first) : self._marker(end)])

    def forget_aborted(self, below: int, markers: Iterable[int] = ()) -> None:
        """Forget the transactions whose marker is gone: those below an offset, and those named."""
        gone = set(markers)
        self.aborted = [one for one in self.aborted if one.last >= below and one.last not in gone]

    def snapshot(self) -> dict[str, Any]:
        """All but the aborted transactions, as JSON has it."""
        return {"producers": self.producers.snapshot(), "open": list(self.open_transactions.items())}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot; the aborted transactions stay as they are."""
        self.producers.restore(snapshot["producers"])
        self.open_transactions = dict(snapshot["open"])

    def _marker(self, offset: int) -> int:
        return bisect_left(self.aborted, (offset, -1, -1))
