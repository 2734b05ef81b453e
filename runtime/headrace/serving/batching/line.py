"""The line of waiting requests, and which of them go together next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.serving.batching.member import Member
    from headrace.serving.settings import BatchLimits


@dataclass(slots=True)
class Load:
    """How much a batch holds so far."""

    limits: BatchLimits
    rows: int = 0
    size: int = 0
    tokens: int = 0
    """Of the longest row: every row of a padded batch is as long."""

    @property
    def full(self) -> bool:
        """Whether not one row more can join."""
        return self.rows >= self.limits.max_size

    def takes(self, member: Member) -> bool:
        """Whether the batch stays within all limits with this one; an empty batch takes any."""
        if not self.rows:
            return True
        limits = self.limits
        rows = self.rows + member.rows
        return (
            rows <= limits.max_size
            and (not limits.max_bytes or self.size + member.size <= limits.max_bytes)
            and (not limits.max_tokens or rows * max(self.tokens, member.tokens) <= limits.max_tokens)
        )

    def add(self, member: Member) -> None:
        """Count this one in."""
        self.rows += member.rows
        self.size += member.size
        self.tokens = max(self.tokens, member.tokens)


class Line:
    """Waiting requests in the order they came.

    Args:
        limits: How much one batch may hold.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._waiting: deque[Member] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, member: Member) -> None:
        """Stand at the end."""
        self._waiting.append(member)

    def leave(self, member: Member) -> bool:
        """Step out; whether it stood in the line."""
        try:
            self._waiting.remove(member)
        except ValueError:
            return False
        return True

    @property
    def first(self) -> Member:
        """Who has waited longest."""
        return self._waiting[0]

    def full(self) -> bool:
        """Whether the next batch would be as large as it may: whoever comes later cannot join it."""
        return self._gather(taking=False)[1]

    def take(self) -> list[Member]:
        """The first one and all that can go with it, out of the line; the rest keep their order."""
        return self._gather(taking=True)[0]

    def _gather(self, *, taking: bool) -> tuple[list[Member], bool]:
        """The next batch, and whether it is closed: full, or some member found no room in it."""
        load = Load(self._limits)
        batch: list[Member] = []
        skipped: list[Member] = []
        keyed: set[str] = set()
        closed = False
        for member in self._waiting:
            if batch and (load.full or batch[0].key is None):
                closed = True
                break
            joins = not batch or (member.key is not None and member.key == batch[0].key)
            own_turn = member.state_key is None or member.state_key not in keyed
            if joins and own_turn and load.takes(member):
                load.add(member)
                batch.append(member)
            else:
                closed = closed or (joins and own_turn)
                skipped.append(member)
            if member.state_key is not None:
                # One of a key in a batch; and a later one never overtakes one that was passed over.
                keyed.add(member.state_key)
        closed = closed or load.full or (bool(batch) and batch[0].key is None)
        if taking:
            for _ in range(len(batch) + len(skipped)):
                self._waiting.popleft()
            self._waiting.extendleft(reversed(skipped))
        return batch, closed
