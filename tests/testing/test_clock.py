"""The clock that tests put forward."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headrace.testing.clock import ForwardClock

HOUR = 3600.0


def test_a_sleeper_wakes_when_the_clock_goes_on() -> None:
    """Put forward from another thread, as tests do; a sleeper that is not due sleeps on."""
    clock = ForwardClock()
    began = clock.now()

    async def run() -> float:
        short, long = asyncio.ensure_future(clock.sleep(HOUR)), asyncio.ensure_future(clock.sleep(3 * HOUR))
        await asyncio.sleep(0)
        threading.Thread(target=clock.forward, args=(2 * HOUR,)).start()
        await asyncio.wait_for(short, 30)
        assert not long.done()
        long.cancel()
        return clock.now() - began

    assert 2 * HOUR <= asyncio.run(run()) < 3 * HOUR


def test_time_passes_by_itself() -> None:
    """Nobody needs to put it forward for a short sleep."""
    clock = ForwardClock()
    began = clock.now()
    asyncio.run(clock.sleep(0.01))
    assert clock.now() - began >= 0.01


def test_time_never_goes_back() -> None:
    """A negative step is a mistake of the test's."""
    with pytest.raises(ValueError, match="-1"):
        ForwardClock().forward(-1)
