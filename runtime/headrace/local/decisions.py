"""What the autoscaler decided and on which numbers: bounded, for ``headrace status`` and its plot."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT = 3600
"""Decisions of one service: two hours of ticks; at rest at zero none is kept."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of the autoscaler of one service."""

    time: float
    """Seconds on the twin's clock."""
    stable: float
    """Average over the stable window: requests at a time, or a second where the metric is ``rps``."""
    panic: float
    """Average over the panic window."""
    target: float
    """What one replica is meant to have of it."""
    current: int
    """Requests waiting or in flight at that moment."""
    queued: int
    """Of those, the ones that wait."""
    ready: int
    """Replicas that take requests."""
    wanted: int
    """What the averages ask for."""
    asked: int
    """What was asked for in the end."""
    before: int
    """What was asked for until then."""
    panicking: bool
    excess: int
    """Excess burst capacity; below 0 the activator is in the path."""
    why: str

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to tell: zero was, zero is, and nobody waits."""
        return not (self.asked or self.before or self.ready or self.current)


class Decisions:
    """The last decisions of one service."""

    def __init__(self) -> None:
        self._kept: deque[Decision] = deque(maxlen=KEPT)

    def add(self, decision: Decision) -> None:
        """Keep it, unless it and the one before say that nothing happens."""
        if not (decision.at_rest and (not self._kept or self._kept[-1].at_rest)):
            self._kept.append(decision)

    @property
    def all(self) -> tuple[Decision, ...]:
        """The oldest first."""
        return tuple(self._kept)


def to_json(services: Mapping[str, tuple[Decision, ...]]) -> bytes:
    """The answer of ``GET /decisions``: by service."""
    return orjson.dumps({name: [asdict(each) for each in found] for name, found in services.items()})


def from_json(content: bytes) -> dict[str, tuple[Decision, ...]]:
    """The decisions of such an answer.

    Raises:
        UnavailableError: it is none.
    """
    try:
        document: dict[str, Any] = orjson.loads(content)
        return {name: tuple(Decision(**each) for each in found) for name, found in document.items()}
    except (orjson.JSONDecodeError, AttributeError, TypeError) as fault:
        raise UnavailableError(f"The answer holds no decisions of a twin: {fault}") from fault
