"""Order: what may run beside what (spec.trigger.ordering).

``key``: events of one key run one after the other, in the order of the log; events without a key run freely.
``partition``: the same with the partition as the key. ``none``: all run freely.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

    from headrace.eventing.log import Record

Ordering = Literal["key", "partition", "none"]
Item = TypeVar("Item")


def lane_of(record: Record, ordering: Ordering) -> Hashable | None:
    """The lane of a record; None where it needs none."""
    if ordering == "partition":
        return record.partition
    if ordering == "key" and record.key is not None:
        return (record.partition, record.key)
    return None


class Lanes(Generic[Item]):
    """Which items wait for one before them in their lane; owned by one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Item]] = {}

    def enter(self, lane: Hashable | None, item: Item) -> bool:
        """Take an item; True when it may start now, False when it waits for :meth:`leave`."""
        if lane is None:
            return True
        if lane in self._waiting:
            self._waiting[lane].append(item)
            return False
        self._waiting[lane] = deque()
        return True

    def leave(self, lane: Hashable | None) -> Item | None:
        """The item in front of this lane is done: the one that may start now, or None."""
        if lane is None:
            return None
        if self._waiting[lane]:
            return self._waiting[lane].popleft()
        del self._waiting[lane]
        return None
