"""Time that takes no time."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress


class InstantClock:
    """A clock that jumps: a sleep returns at once, and the time is later by as much.

    Args:
        start: Seconds since the epoch.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.now = start
        self.slept: list[float] = []
        """Every sleep so far, in seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move on by this many seconds, letting others run first."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class ForwardClock:
    """The machine's clock, which a test can put forward: whoever sleeps on it wakes as if the time had passed.

    A :class:`headrace.local.clock.Clock`; it may be put forward from another thread than those that sleep.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._lock = threading.Lock()
        self._sleeping: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() + self._ahead

    def forward(self, seconds: float) -> None:
        """Be this much later at once.

        Raises:
            ValueError: less than 0: time does not go back.
        """
        if seconds < 0:
            raise ValueError(f"A clock cannot go {seconds} s forward")
        with self._lock:
            self._ahead += seconds
            for loop, woken in self._sleeping:
                with suppress(RuntimeError):  # a loop that is closed sleeps no more
                    loop.call_soon_threadsafe(woken.set)

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds`` of this clock."""
        end = self.now() + seconds
        woken = asyncio.Event()
        sleeper = (asyncio.get_running_loop(), woken)
        with self._lock:
            self._sleeping.add(sleeper)
        try:
            while (left := end - self.now()) > 0:
                woken.clear()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(woken.wait(), left)
        finally:
            with self._lock:
                self._sleeping.discard(sleeper)


class VirtualClock:
    """The local twin's clock, standing still until it is told: hours of an autoscaler run in milliseconds.

    Args:
        start: Seconds since some moment.
    """

    def __init__(self, start: float = 1_000_000.0) -> None:
        self.time = start
        self._wakes: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        """What it was moved to."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Come back once :meth:`advance` went that far."""
        event = asyncio.Event()
        self._wakes.append((self.time + seconds, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its moment and letting it run."""
        end = self.time + seconds
        await _let_others_run()
        while due := sorted((wake for wake in self._wakes if wake[0] <= end), key=lambda wake: wake[0]):
            self._wakes.remove(due[0])
            self.time = due[0][0]
            due[0][1].set()
            await _let_others_run()
        self.time = end


async def _let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
