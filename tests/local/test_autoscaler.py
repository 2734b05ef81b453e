"""The autoscaler over time, by a clock of the test's own: from zero and back, and what annotations change of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from headrace.local.activity import Activity, Moment
from headrace.local.autoscaler import Autoscaler
from headrace.local.decisions import Decision, Decisions, from_json, to_json
from headrace.local.load import Load
from headrace.local.resources import Scale
from headrace.local.settings import TwinSettings
from headrace.testing.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.context import Context

SETTINGS = TwinSettings(replica_limit=100)


@dataclass
class Replicas:
    """Replicas that are ready some seconds after they were asked for."""

    clock: VirtualClock
    start: float = 1.0
    desired: int = 0
    told: list[tuple[float, int]] = field(default_factory=list)
    _ready_at: list[float] = field(default_factory=list)

    @property
    def answering(self) -> int:
        """Those whose start is over."""
        return sum(moment <= self.clock.now() for moment in self._ready_at)

    def scale_to(self, desired: int, cause: Context | None = None) -> None:
        """Start what is missing, end what is too much."""
        self.desired = desired
        self.told.append((self.clock.now() - 1_000_000, desired))
        self._ready_at = self._ready_at[:desired]
        self._ready_at += [self.clock.now() + self.start] * (desired - len(self._ready_at))


@dataclass
class Stage:
    """An autoscaler with everything around it, running."""

    clock: VirtualClock
    load: Load
    replicas: Replicas
    autoscaler: Autoscaler

    @property
    def numbers(self) -> list[int]:
        """The numbers of replicas asked for, one after the other."""
        return [number for _, number in self.replicas.told]

    def arrive(self, requests: int) -> None:
        """So many requests come; those that find no replica say so."""
        for _ in range(requests):
            self.load.change(1)
            if not self.replicas.answering:
                self.autoscaler.poke()

    def leave(self, requests: int) -> None:
        """So many are answered."""
        for _ in range(requests):
            self.load.change(-1)


@asynccontextmanager
async def stage(scale: Scale, *, start: float = 1.0, settings: TwinSettings = SETTINGS) -> AsyncIterator[Stage]:
    """A running autoscaler, that has begun."""
    clock = VirtualClock()
    load, replicas = Load(scale, clock), Replicas(clock, start)
    autoscaler = Autoscaler(scale, replicas, load, clock, settings=settings, deadline=600.0)
    autoscaler.begin()
    task = asyncio.ensure_future(autoscaler.run())
    yield Stage(clock, load, replicas, autoscaler)
    task.cancel()
    await asyncio.wait([task])


def test_from_zero_the_first_request_starts_one_at_once_and_its_burst_the_others_at_the_next_tick() -> None:
    """Knative wakes for the first request; how many are there is told by the averages, every two seconds."""

    async def scenario() -> None:
        async with stage(Scale(target=2.0)) as on:
            on.arrive(8)
            assert on.numbers == [0, 1]
            await on.clock.advance(1.9)
            assert on.numbers == [0, 1]
            await on.clock.advance(0.2)
            assert on.numbers[-1] == 3  # (1 reported at once + 7 and 8 in the two seconds since) / 3 seconds / 2
            await on.clock.advance(10)
            assert on.numbers[-1] == 4

    asyncio.run(scenario())


def test_zero_one_three_zero() -> None:
    """By Knative's rules, with its defaults: the times follow from window, panic and ticks alone."""

    async def scenario() -> None:
        async with stage(Scale(target=2.8, total=4.0, concurrency=4, maximum=3)) as on:
            on.arrive(1)
            await on.clock.advance(10)
            assert on.numbers == [0, 1]
            on.arrive(11)
            await on.clock.advance(20)
            assert on.numbers == [0, 1, 2, 3]
            on.leave(12)
            down = on.clock.now() - 1_000_000
            await on.clock.advance(300)
            assert on.numbers == [0, 1, 2, 3, 2, 1, 0]
            at = {number: moment for moment, number in on.replicas.told}
            # The last bucket with a request leaves the window after a minute; a tick later it is inactive, then gone.
            assert down + 60 <= at[0] <= down + 66

    asyncio.run(scenario())


def test_hours_of_traffic_run_in_milliseconds() -> None:
    """Two hours, a burst of a minute every ten: each is followed up and down, and time is the clock's alone."""

    async def scenario() -> None:
        async with stage(Scale(target=5.0, maximum=10)) as on:
            for _ in range(12):
                on.arrive(20)
                await on.clock.advance(60)
                assert on.replicas.desired >= 4
                on.leave(20)
                await on.clock.advance(540)
                assert on.replicas.desired == 0
            assert on.clock.now() == 1_000_000 + 2 * 3600

    began = time.process_time()
    asyncio.run(scenario())
    assert time.process_time() - began < 60


def test_requests_a_second_are_a_metric() -> None:
    """50 a second at a target of 10: five replicas, however short each request is."""

    async def scenario() -> None:
        async with stage(Scale(metric="rps", target=10.0, total=10.0)) as on:
            for _ in range(120):
                for _ in range(50):
                    on.arrive(1)
                    on.leave(1)
                await on.clock.advance(1.0)
            assert on.replicas.desired == 5

    asyncio.run(scenario())


def test_a_long_request_keeps_its_replica() -> None:
    """In flight is not idle, however long."""

    async def scenario() -> None:
        async with stage(Scale(target=2.0)) as on:
            on.arrive(1)
            await on.clock.advance(3600)
            assert on.numbers == [0, 1]

    asyncio.run(scenario())


def test_a_revision_that_never_gets_ready_ends_after_its_deadline() -> None:
    """The client is gone, the start is not: it is given the progress deadline and half a minute, then zero."""

    async def scenario() -> None:
        async with stage(Scale(target=2.0), start=10_000.0) as on:
            on.arrive(1)
            await on.clock.advance(5)
            on.leave(1)
            await on.clock.advance(620)
            assert on.replicas.desired == 1
            await on.clock.advance(20)
            assert on.numbers == [0, 1, 0]

    asyncio.run(scenario())


def test_headraces_idle_time_is_exact() -> None:
    """Neither earlier than it by an average that fell, nor later by a window that is longer."""

    async def scenario() -> None:
        for idle in (3.0, 200.0):
            async with stage(Scale(target=2.0, idle=idle)) as on:
                on.arrive(4)
                await on.clock.advance(4)
                on.leave(4)
                await on.clock.advance(idle - 0.5)
                assert on.replicas.desired >= 1
                await on.clock.advance(2.6)
                assert on.replicas.desired == 0
                await on.clock.advance(100)
                assert on.numbers.count(0) == 2  # what is left in the window is no reason to start again

    asyncio.run(scenario())


def test_annotations_are_followed_live() -> None:
    """Another target, a minimum, a maximum: from the next tick on, without a new replica for its own sake."""

    async def scenario() -> None:
        scale = Scale(target=10.0)
        async with stage(scale) as on:
            on.arrive(10)
            await on.clock.advance(20)
            assert on.replicas.desired == 1
            on.autoscaler.configure(replace(scale, target=2.0))
            await on.clock.advance(2)
            assert on.replicas.desired == 5
            on.autoscaler.configure(replace(scale, target=2.0, maximum=3))
            await on.clock.advance(2)
            assert on.replicas.desired == 3
            on.leave(10)
            on.autoscaler.configure(replace(scale, minimum=2))
            await on.clock.advance(300)
            assert on.replicas.desired == 2
            on.autoscaler.configure(scale)
            await on.clock.advance(120)
            assert on.replicas.desired == 0

    asyncio.run(scenario())


def test_a_minimum_raised_at_zero_is_followed() -> None:
    """Warmed beforehand, without a request (Knative 1.21)."""

    async def scenario() -> None:
        async with stage(Scale()) as on:
            await on.clock.advance(10)
            on.autoscaler.configure(Scale(minimum=1))
            await on.clock.advance(2)
            assert on.numbers == [0, 1]

    asyncio.run(scenario())


def activity(scale: Scale, *, ready: int = 0) -> Activity:
    """The state of a revision at time 0, its first replicas ready if there are any."""
    found = Activity(scale, deadline=600.0, limit=100, now=0.0)
    if ready:
        found.apply(ready, Moment(0.0, ready, ready))
    return found


def test_the_way_to_zero_waits_for_the_stable_window_and_the_grace() -> None:
    """Active a window long; then, where the activator was out of the path, its grace period."""
    found = activity(Scale(burst=0.0), ready=1)

    def ask(now: float) -> tuple[int, str]:
        return found.apply(0, Moment(now, 1, 1, excess=0))

    found.apply(1, Moment(1.0, 1, 1, excess=0))
    assert not found.proxied
    assert ask(59) == (1, "active for 59 s, less than the stable window")
    assert ask(61) == (1, "nothing wanted: inactive from now on")
    assert found.proxied
    assert ask(90.5) == (1, "the activator is in the path for 30 of 30 s")
    assert ask(91.0) == (0, "")


def test_no_grace_is_waited_for_where_the_activator_was_in_the_path_all_along() -> None:
    """As with a negative excess burst capacity: the fast way."""
    found = activity(Scale(), ready=1)
    assert found.apply(0, Moment(61, 1, 1))[0] == 1
    assert found.apply(0, Moment(63, 1, 1))[0] == 0


def test_the_last_replica_is_retained() -> None:
    """For the retention period after the revision became inactive."""
    found = activity(Scale(retention=100.0), ready=1)
    assert found.apply(0, Moment(61, 1, 1))[0] == 1
    assert found.apply(0, Moment(160, 1, 1)) == (1, "retained: inactive for 99 of 100 s")
    assert found.apply(0, Moment(161, 1, 1))[0] == 0


def test_a_request_while_it_is_retained_makes_it_active_anew() -> None:
    """And the window begins again."""
    found = activity(Scale(retention=100.0), ready=1)
    found.apply(0, Moment(61, 1, 1))
    assert found.condition == "inactive"
    found.apply(1, Moment(100, 1, 1))
    assert (found.condition, found.since) == ("active", 100)
    assert found.apply(0, Moment(159, 1, 1))[1] == "active for 59 s, less than the stable window"


def test_scaling_to_zero_can_be_switched_off() -> None:
    """enable-scale-to-zero of the cluster's settings: one stays."""
    found = activity(Scale(to_zero=False), ready=1)
    assert found.apply(0, Moment(1000, 1, 1)) == (1, "enable-scale-to-zero is false")


@pytest.mark.parametrize(
    ("scale", "limit", "first", "wanted", "asked"),
    [
        (Scale(), 100, 0, 50, 50),
        (Scale(maximum=9), 100, 0, 50, 9),
        (Scale(maximum=9), 4, 0, 50, 4),
        (Scale(minimum=6, maximum=9), 4, 6, 50, 6),
        (Scale(minimum=2), 4, 2, 0, 2),
        (Scale(initial=3), 100, 3, 1, 3),
        (Scale(initial=1), 100, 1, 0, 1),
        (Scale(initial=3, minimum=5), 100, 5, 1, 5),
        (Scale(initial=3), 2, 2, 1, 2),
    ],
)
def test_bounds(scale: Scale, limit: int, first: int, wanted: int, asked: int) -> None:
    """min-scale, max-scale, initial-scale until it was reached, and the most of this machine."""
    found = Activity(scale, deadline=600.0, limit=limit, now=0.0)
    assert found.first == first
    assert found.apply(wanted, Moment(1.0, 0, first))[0] == asked


def test_an_initial_scale_counts_until_it_was_reached() -> None:
    """Three to begin with; once they were ready, what is wanted."""
    found = Activity(Scale(initial=3), deadline=600.0, limit=100, now=0.0)
    assert found.apply(0, Moment(2.0, 2, 3))[0] == 3
    assert found.apply(1, Moment(4.0, 3, 3))[0] == 3
    assert found.apply(1, Moment(6.0, 3, 3))[0] == 1


def test_decisions_are_kept_with_their_numbers() -> None:
    """One a tick while something happens, none at rest at zero; they survive JSON."""

    async def scenario() -> None:
        async with stage(Scale(target=2.0, idle=5.0)) as on:
            await on.clock.advance(1000)
            assert on.autoscaler.decisions.all == ()
            on.arrive(4)
            await on.clock.advance(10)
            on.leave(4)
            await on.clock.advance(1000)
            kept = on.autoscaler.decisions.all
            assert 8 <= len(kept) <= 14
            assert [decision.asked for decision in kept if decision.asked != decision.before] == [1, 2, 0]
            assert kept[-1].at_rest
            assert from_json(to_json({"a": kept})) == {"a": kept}

    asyncio.run(scenario())


def test_decisions_are_bounded() -> None:
    """The last two hours."""
    kept = Decisions()
    for second in range(10_000):
        kept.add(Decision(second, 1.0, 1.0, 1.0, 1, 0, 1, 1, 1, 1, panicking=False, excess=-1, why=""))
    assert len(kept.all) == 3600
    assert kept.all[-1].time == 9999
