"""The gate before a sink that may be scaled to zero."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.context import Context

from headrace.errors import DeadlineExceededError
from headrace.eventing.gate import Gate
from headrace.testing.clock import InstantClock


class Knocker:
    """Ready after so many knocks."""

    def __init__(self, opens_after: int) -> None:
        self.opens_after = opens_after
        self.knocks = 0

    async def __call__(self, context: Context) -> bool:
        """One knock."""
        self.knocks += 1
        await asyncio.sleep(0)
        return self.knocks > self.opens_after


def test_many_wait_behind_one_knock() -> None:
    """A hundred events that arrive at zero cause one series of knocks, and all pass when it opens."""
    knocker = Knocker(opens_after=3)

    async def run() -> list[float]:
        gate = Gate(knocker, cold_start=60, idle=5, clock=InstantClock())
        return await asyncio.gather(*(gate.passed(Context()) for _ in range(100)))

    assert len(asyncio.run(run())) == 100
    assert knocker.knocks == 4


def test_an_open_gate_is_not_knocked_at() -> None:
    """While deliveries are answered nobody asks for readiness; after the idle time somebody does."""
    knocker, clock = Knocker(opens_after=0), InstantClock()

    async def run() -> None:
        gate = Gate(knocker, cold_start=60, idle=5, clock=clock)
        await gate.passed(Context())
        clock.now += 4
        assert await gate.passed(Context()) == 0.0
        gate.answered()
        clock.now += 4
        await gate.passed(Context())
        assert knocker.knocks == 1
        clock.now += 6
        await gate.passed(Context())
        assert knocker.knocks == 2
        gate.shut()
        await gate.passed(Context())
        assert knocker.knocks == 3

    asyncio.run(run())


def test_the_deadline_ends_the_wait() -> None:
    """A sink that never opens is an error after the cold-start deadline, with a remedy; the next event asks anew."""
    knocker = Knocker(opens_after=10_000)

    async def run() -> None:
        gate = Gate(knocker, cold_start=60, idle=5, clock=InstantClock())
        with pytest.raises(DeadlineExceededError, match="60 s"):
            await gate.passed(Context())
        knocker.opens_after = 0
        assert await gate.passed(Context()) >= 0

    asyncio.run(run())


def test_one_that_gives_up_does_not_shut_out_the_others() -> None:
    """Cancelling a waiting event leaves the knocking to those that still wait."""
    knocker = Knocker(opens_after=5)

    async def run() -> None:
        gate = Gate(knocker, cold_start=60, idle=5, clock=InstantClock())
        first = asyncio.ensure_future(gate.passed(Context()))
        second = asyncio.ensure_future(gate.passed(Context()))
        await asyncio.sleep(0)
        first.cancel()
        await second

    asyncio.run(run())
