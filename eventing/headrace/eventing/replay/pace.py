"""How fast replayed events go. Pure: the caller brings the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headrace.eventing.log import Record


class Pace(Protocol):
    """Says when the next event may go."""

    def wait(self, record: Record, now: float) -> float:
        """Seconds until the record may go, 0 for now; changes nothing.

        Args:
            record: The next one.
            now: Seconds that never go back.
        """

    def gone(self, record: Record, now: float) -> None:
        """The record goes now."""

    def stood(self, seconds: float) -> None:
        """The run was paused for so long: nothing is to be caught up."""


class AsItComes:
    """As fast as the receiver takes them: the dispatcher's concurrency is the only bound."""

    def wait(self, record: Record, now: float) -> float:  # noqa: ARG002  # the Protocol's form
        """Now."""
        return 0.0

    def gone(self, record: Record, now: float) -> None:
        """No matter."""

    def stood(self, seconds: float) -> None:
        """No matter."""


class FixedRate:
    """So many events a second, evenly.

    Args:
        rate: Events a second.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next: float | None = None

    def wait(self, record: Record, now: float) -> float:  # noqa: ARG002  # the Protocol's form
        """Until its turn."""
        return 0.0 if self._next is None else max(0.0, self._next - now)

    def gone(self, record: Record, now: float) -> None:  # noqa: ARG002  # the Protocol's form
        """The next turn comes one interval later; what a slow receiver made late is caught up for a second at most."""
        due = now if self._next is None else max(self._next, now - 1.0)
        self._next = due + self._interval

    def stood(self, seconds: float) -> None:
        """Its turn comes later by as much."""
        if self._next is not None:
            self._next += seconds


class OriginalTiming:
    """With the gaps that the records' timestamps have, so many times as fast.

    Args:
        speed: 1 takes as long as it took then; 60 plays an hour in a minute.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._origin: tuple[float, int] | None = None

    def wait(self, record: Record, now: float) -> float:
        """Until its time. The first goes at once, and so does one without a timestamp."""
        if self._origin is None or record.timestamp < 0:
            return 0.0
        began, first = self._origin
        return max(0.0, began + (record.timestamp - first) / 1000 / self._speed - now)

    def gone(self, record: Record, now: float) -> None:
        """The first one sets the origin."""
        if self._origin is None and record.timestamp >= 0:
            self._origin = (now, record.timestamp)

    def stood(self, seconds: float) -> None:
        """Its origin moves by as much."""
        if self._origin is not None:
            self._origin = (self._origin[0] + seconds, self._origin[1])
