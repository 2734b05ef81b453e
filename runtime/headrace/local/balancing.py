"""Which replica takes the next request, by the rules of Knative's activator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_FIRST_AVAILABLE = 3
"""Up to this hard limit a replica is filled before the next gets a request: the others stay free to go."""


class Loaded(Protocol):
    """Something that has requests in flight."""

    in_flight: int


LoadedT = TypeVar("LoadedT", bound=Loaded)


def pick(replicas: Sequence[LoadedT], concurrency: int, turn: int, chance: Random) -> LoadedT | None:
    """The replica for the next request; None where all are full.

    Args:
        replicas: Those that are ready, in the order of their start.
        concurrency: Most requests at one replica; 0 is without bound.
        turn: Counts requests, for taking turns.
        chance: Picks the two candidates where there is no bound.
    """
    if concurrency == 0:
        candidates = replicas if len(replicas) <= 2 else chance.sample(replicas, 2)  # noqa: PLR2004 - two choices
        return min(candidates, key=lambda replica: replica.in_flight, default=None)
    start = 0 if concurrency <= _FIRST_AVAILABLE or not replicas else turn % len(replicas)
    in_order = (*replicas[start:], *replicas[:start])
    return next((replica for replica in in_order if replica.in_flight < concurrency), None)
