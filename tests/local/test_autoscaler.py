"""How many replicas: decisions, load over time, and the loop, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest

from headrace.local.autoscaler import Autoscaler, Load, Observation, decide
from headrace.local.balancing import pick
from headrace.local.resources import Scale

if TYPE_CHECKING:
    from opentelemetry.context import Context


class VirtualClock:
    """Stands still until told; `sleep` gives the other tasks their turn."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._wakes: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        """What it was set to."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Come back once `advance` went that far."""
        event = asyncio.Event()
        self._wakes.append((self.time + seconds, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper in its turn."""
        end = self.time + seconds
        await yield_to_others()
        while due := sorted((wake for wake in self._wakes if wake[0] <= end), key=lambda wake: wake[0]):
            self._wakes.remove(due[0])
            self.time = due[0][0]
            due[0][1].set()
            await yield_to_others()
        self.time = end


async def yield_to_others() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Replicas:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.desired = 0
        self.told: list[int] = []

    def scale_to(self, desired: int, cause: Context | None = None) -> None:
        """Remember."""
        self.desired = desired
        self.told.append(desired)


SCALE = Scale(minimum=0, maximum=10, target=2.0, window=10.0, idle=5.0)


@pytest.mark.parametrize(
    ("average", "current", "replicas", "idle_for", "wanted"),
    [
        (0.0, 0, 0, 100.0, 0),
        (0.0, 1, 0, 0.0, 1),
        (0.0, 0, 1, 4.9, 1),
        (0.0, 0, 1, 5.0, 0),
        (6.0, 0, 3, 5.0, 0),
        (2.0, 2, 1, 0.0, 1),
        (2.1, 2, 1, 0.0, 2),
        (7.9, 8, 1, 0.0, 4),
        (100.0, 100, 1, 0.0, 10),
        (0.0, 0, 0, 1.0, 0),
    ],
)
def test_replicas_follow_the_average_at_the_target(
    average: float, current: int, replicas: int, idle_for: float, wanted: int
) -> None:
    """ceil(average / target), at least one while not idle, none after the idle time, at most the maximum."""
    assert decide(Observation(average, current, replicas, idle_for), SCALE, 100) == wanted


def test_bounds() -> None:
    """The minimum always stands; a missing maximum is the machine's, which no maximum exceeds."""
    busy, idle = Observation(50.0, 50, 1, 0.0), Observation(0.0, 0, 2, 100.0)
    assert decide(busy, Scale(maximum=0, target=1.0), 4) == 4
    assert decide(busy, Scale(maximum=9, target=1.0), 4) == 4
    assert decide(busy, Scale(minimum=6, maximum=9, target=1.0), 4) == 6
    assert decide(idle, Scale(minimum=2, maximum=9, target=1.0, idle=5.0), 4) == 2


def test_load_is_averaged_over_the_window() -> None:
    """By time, not by sample; silence before a burst does not thin it, silence after it does."""
    clock = VirtualClock()
    load = Load(10.0, clock)
    clock.time += 60
    assert load.average() == 0.0
    load.change(4)
    assert load.average() == 4.0
    clock.time += 1
    load.change(-2)
    clock.time += 1
    assert load.average() == 3.0
    load.change(-2)
    clock.time += 2
    assert load.average() == 1.5
    assert load.idle_for() == 2
    clock.time += 10
    assert load.average() == 0.0


def scaler(scale: Scale = SCALE) -> tuple[VirtualClock, Load, Replicas, Autoscaler]:
    """An autoscaler with everything around it."""
    clock, replicas = VirtualClock(), Replicas()
    load = Load(scale.window, clock)
    return clock, load, replicas, Autoscaler(scale, replicas, load, clock, tick=1.0, limit=100)


async def over(clock: VirtualClock, autoscaler: Autoscaler, *steps: float) -> None:
    """Run the loop while so many seconds pass."""
    task = asyncio.ensure_future(autoscaler.run())
    for seconds in steps:
        await clock.advance(seconds)
    task.cancel()
    await asyncio.wait([task])


def test_from_zero_a_request_is_served_at_once_and_more_follow() -> None:
    """The first replica does not wait for a tick; the burst's size decides the others at the first one."""
    clock, load, replicas, autoscaler = scaler()
    load.change(8)
    autoscaler.poke()
    assert replicas.told == [1]
    autoscaler.poke()
    assert replicas.told == [1]
    asyncio.run(over(clock, autoscaler, 1.0))
    assert replicas.told == [1, 4]


def test_a_drop_is_followed_once_the_whole_window_agrees() -> None:
    """A short pause costs no replica; then down, and to zero after the idle time."""
    clock, load, replicas, autoscaler = scaler(Scale(maximum=10, target=2.0, window=10.0, idle=30.0))
    load.change(8)
    autoscaler.poke()

    async def scenario() -> None:
        await over(clock, autoscaler, 5.0)
        load.change(-8)
        await over(clock, autoscaler, 9.0)
        assert replicas.desired == 4
        await over(clock, autoscaler, 15.0)
        assert replicas.desired == 1
        await over(clock, autoscaler, 5.9)
        assert replicas.desired == 1
        await over(clock, autoscaler, 1.2)
        assert replicas.told == [1, 4, 3, 2, 1, 0]

    asyncio.run(scenario())


def test_requests_that_wait_at_a_hard_limit_ask_for_what_holds_them() -> None:
    """A request in flight for long must not make others wait for an average to rise; the next tick keeps it so."""
    clock, load, replicas, autoscaler = scaler(Scale(maximum=5, target=0.7, concurrency=1, window=60.0, idle=60.0))
    load.change(3)
    autoscaler.poke()
    assert replicas.told == [3]
    load.change(20)
    autoscaler.poke()
    assert replicas.told == [3, 5]
    load.change(-22)
    asyncio.run(over(clock, autoscaler, 3.0))
    assert replicas.desired == 5


def test_a_long_request_keeps_its_replica() -> None:
    """In flight is not idle, however long."""
    clock, load, replicas, autoscaler = scaler()
    load.change(1)
    autoscaler.poke()
    asyncio.run(over(clock, autoscaler, 600.0))
    assert replicas.told == [1]


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
