"""One record in work, from the poll that brought it to the commit that ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Mapping

    from headrace.eventing.ledger import Ledger
    from headrace.eventing.log import Partition, Record
    from headrace.eventing.outcome import Outcome


@dataclass(eq=False, slots=True)
class Work:
    """One record in work; it holds the ledger it came from, so that a partition's later life is not taken for it."""

    record: Record
    ledger: Ledger
    lane: Hashable | None
    arrived: float = 0.0
    """When the record came, on the dispatcher's monotonic clock."""
    task: asyncio.Task[None] | None = None
    outcome: Outcome | None = None
    written: bool = False
    """Whether its answer and its progress are in the log."""

    @property
    def partition(self) -> Partition:
        """Where the record lies."""
        return self.record.partition

    @property
    def size(self) -> int:
        """Bytes of the record's value."""
        return len(self.record.value or b"")

    @property
    def is_letter(self) -> bool:
        """Whether its answer is a dead letter."""
        return self.outcome is not None and self.outcome.ending == "dead_letter"

    def close(self) -> None:
        """End the spans that waited for the answer to be written."""
        if self.outcome:
            self.outcome.close()

    def is_among(self, ledgers: Mapping[Partition, Ledger]) -> bool:
        """Whether the partition is still the one it was when the record was admitted."""
        return ledgers.get(self.partition) is self.ledger
