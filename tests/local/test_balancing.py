"""Which replica gets the next request."""

from __future__ import annotations

from random import Random

import pytest

from headrace.local.balancing import pick


class Busy:
    """Something with requests in flight."""

    def __init__(self, in_flight: int) -> None:
        self.in_flight = in_flight


@pytest.mark.parametrize(
    ("loads", "concurrency", "turn", "picked"),
    [
        ([], 0, 0, None),
        ([5], 0, 0, 0),
        ([5, 4], 0, 0, 1),
        ([], 1, 0, None),
        ([1, 0], 1, 0, 1),
        ([1, 1], 1, 0, None),
        ([2, 0], 3, 1, 0),
        ([3, 0], 3, 1, 1),
        ([0, 0, 0], 4, 0, 0),
        ([0, 0, 0], 4, 1, 1),
        ([0, 4, 0], 4, 1, 2),
        ([4, 4, 4], 4, 2, None),
    ],
)
def test_balancing_is_knatives(loads: list[int], concurrency: int, turn: int, picked: int | None) -> None:
    """Two choices without a limit, the first with room up to three, turns above."""
    replicas = [Busy(load) for load in loads]
    found = pick(replicas, concurrency, turn, Random(1))
    assert found is (None if picked is None else replicas[picked])


def test_two_choices_avoid_the_busiest() -> None:
    """The most loaded of three is never taken: one of any two is less loaded."""
    replicas = [Busy(9), Busy(1), Busy(2)]
    chance = Random(7)
    picked = {id(pick(replicas, 0, 0, chance)) for _ in range(100)}
    assert picked == {id(replicas[1]), id(replicas[2])}
