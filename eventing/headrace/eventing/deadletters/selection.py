"""Which letters are meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from headrace.eventing.deadletters.letter import DeadLetter

_EARLIEST = float("-inf")


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters that meet every condition; without conditions, all."""

    ids: frozenset[str] = frozenset()
    """Event ids, or places ``PARTITION/OFFSET``; empty for any."""
    reasons: frozenset[str] = frozenset()
    """Values of ``hrreason``; empty for any."""
    since: datetime | None = None
    """Letters written at this time or later."""
    until: datetime | None = None
    """Letters written before this time."""
    matches: Callable[[Mapping[str, str]], bool] | None = None
    """A filter of the letters' attributes: those of the event and those of its failure; None for any."""

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the letter is meant. One without a time of its own is older than all others."""
        return (
            (not self.ids or letter.event.id in self.ids or str(letter.place) in self.ids)
            and (not self.reasons or letter.reason in self.reasons)
            and self._in_time(letter)
            and (self.matches is None or self.matches(letter.event.attributes))
        )

    def _in_time(self, letter: DeadLetter) -> bool:
        written = letter.written.timestamp() if letter.written else _EARLIEST
        return (self.since is None or written >= self.since.timestamp()) and (
            self.until is None or written < self.until.timestamp()
        )

    @property
    def is_all(self) -> bool:
        """Whether it has no condition at all."""
        return self == Selection()
