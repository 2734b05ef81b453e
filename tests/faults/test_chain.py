"""kill -9 of every part of a whole app, at work and while it wakes from zero; numbers as in ``test_faults``."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from .chain import KINDS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .chain import Chain
    from .tally import Batch, Row

    Settle = Callable[[Batch, float], Row]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_every_part_of_the_chain_is_killed_at_random_points(
    chain: Chain, settle_chain: Settle, seed: int, long: bool
) -> None:
    """SIGKILL for transformer, predictor, dispatcher and broker, each at least once, in an order by the seed."""
    choose = random.Random(seed)
    began = time.monotonic()
    batch = chain.publish("chain kills", 1200 if long else 160)
    kinds = [*KINDS, *choose.choices(KINDS, k=16)] if long else [*KINDS]
    choose.shuffle(kinds)
    for number, kind in enumerate(kinds):
        chain.until_delivered(batch, (number + choose.random()) / (len(kinds) + 1))
        chain.kill(kind, choose.choice)
    settle_chain(batch, began)


def test_events_come_to_a_chain_at_zero_and_what_wakes_is_killed(
    chain: Chain, settle_chain: Settle, seed: int, long: bool
) -> None:
    """Nothing runs when they come; a part that has just started is killed, and one of those that woke it."""
    choose = random.Random(seed)
    for number in range(6 if long else 1):
        chain.until_zero()
        began = time.monotonic()
        batch = chain.publish(f"from zero {number}", 64, poison=16 if number % 2 else 0)
        chain.kill(choose.choice(SERVICES), choose.choice)
        chain.kill(choose.choice(KINDS if long else SERVICES), choose.choice)
        row = settle_chain(batch, began)
        assert row.dead == len(batch.poison)
