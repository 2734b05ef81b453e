"""How much the receiver is given: the bound, what it falls for, and when it is left alone."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from tests.eventing.test_dispatch import ECHO, World, dispatch, published

from headrace.errors import DeadlineExceededError
from headrace.eventing.capacity import Capacity
from headrace.eventing.rate import Pace, RateLimit
from headrace.eventing.retry import RetryPolicy, retry_after
from headrace.eventing.sink import Reply
from headrace.testing.clock import InstantClock

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent


def capacity(most: int = 16) -> Capacity:
    """A capacity whose clock stands still until somebody sleeps."""
    return Capacity(most, longest=100.0, clock=InstantClock())


@pytest.mark.parametrize("reply", [Reply(429), Reply(503), None])
def test_the_bound_is_halved_once_for_all_that_were_under_way(reply: Reply | None) -> None:
    """Sixteen requests that meet the same overload are one overload; those that begin later are another."""

    async def run() -> None:
        held = capacity()
        for bound in (8, 4, 2, 1, 1):
            slots = [await held.enter() for _ in range(int(held.bound))]
            for slot in slots:
                if reply:
                    slot.answered(reply)
                else:
                    slot.timed_out()
                slot.leave()
            assert int(held.bound) == bound

    asyncio.run(run())


def test_the_bound_rises_by_one_a_round_while_it_is_used() -> None:
    """Where all slots are in use and all are answered, there is one more; where one is idle, there is none."""

    async def run() -> None:
        held = capacity()
        (await held.enter()).answered(Reply(429))
        held.release()
        for bound in (8, 9, 10):
            assert int(held.bound + 1e-9) == bound
            slots = [await held.enter() for _ in range(int(held.bound + 1e-9))]
            for slot in slots:
                slot.answered(Reply(200))
            for slot in slots:
                slot.leave()
        before = held.bound
        slot = await held.enter()
        slot.answered(Reply(200))
        slot.leave()
        assert held.bound == before
        for _ in range(1000):
            held.in_flight = 100
            held.succeeded()
        assert held.bound == 16, "never over what the app is said to take"

    asyncio.run(run())


def test_slots_are_given_in_the_order_of_asking() -> None:
    """No one is overtaken, and one who gives up while it waits costs no slot."""

    async def run() -> None:
        held = capacity(1)
        first = await held.enter()
        order: list[int] = []

        async def one(number: int) -> None:
            slot = await held.enter()
            order.append(number)
            await asyncio.sleep(0)
            slot.leave()

        waiting = [asyncio.ensure_future(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
        first.leave()
        waiting[2].cancel()  # at the moment at which it may be given the slot
        await asyncio.wait(waiting)
        assert order == [0, 3, 4]
        assert held.in_flight == 0

    asyncio.run(run())


def test_retry_after_holds_the_whole_sink_back() -> None:
    """Told to come back in 30 s, the dispatcher sends nothing at all until then, whichever event it was."""
    clock: list[float] = []
    world = World(ECHO, concurrency=1)

    def answer(e: CloudEvent) -> Reply:
        clock.append(world.clock.now)
        if len(clock) == 1:
            return Reply(429, {"retry-after": "30"})
        return ECHO(e)  # type: ignore[return-value]  # ECHO never answers with an error

    world.answer = answer
    broker = dispatch(world, published(*range(5)))
    assert len(broker.records("out")) == 5
    assert clock[1] - clock[0] >= 30
    assert world.dispatcher.metrics.value("headrace_dispatcher_concurrency") == 1


def test_a_sink_cannot_ask_for_an_eternity() -> None:
    """A Retry-After holds the sink back as long as a cold start may take, no longer."""
    world = World(ECHO, cold_start=60.0, retry=RetryPolicy(attempts=2))
    replies = [Reply(503, {"retry-after": "1000000000"})]
    world.answer = lambda e: replies.pop() if replies else ECHO(e)
    began = world.clock.now
    broker = dispatch(world, published(*range(5)))
    assert world.clock.now - began < 1000
    assert len(broker.records("out")) == 5
    assert not broker.records("dead")


def test_a_slow_sink_gets_less_and_loses_nothing() -> None:
    """One that has room for two at a time and refuses the rest is found out, and answers every event."""
    under_way = 0
    refused = 0

    class Narrow(World):
        def live(self, *how: object) -> tuple[asyncio.Event, asyncio.Future[None]]:
            found = super().live(*how)  # type: ignore[arg-type]  # passed on as they are
            given = self.sink.deliver

            async def deliver(e: CloudEvent, context: object) -> Reply:
                nonlocal under_way, refused
                if under_way >= 2:
                    refused += 1
                    return Reply(429, {"retry-after": "1"})
                under_way += 1
                try:
                    return await given(e, context)  # type: ignore[arg-type]  # passed on as it is
                finally:
                    under_way -= 1

            self.sink.deliver = deliver  # type: ignore[method-assign,assignment]  # a narrow door before it
            return found

    world = Narrow(ECHO, retry=RetryPolicy(attempts=20))
    broker = dispatch(world, published(*range(200)))
    assert len(broker.records("out")) == 200
    assert not broker.records("dead")
    assert refused < 300, "a bound that does not fall is refused more than a thousand times"


def test_a_timeout_lowers_the_bound() -> None:
    """No answer in time is the same as too much."""
    world = World(lambda _: DeadlineExceededError("late"), retry=RetryPolicy(attempts=2), concurrency=8)
    dispatch(world, published(1))
    assert world.dispatcher.metrics.value("headrace_dispatcher_concurrency") == 2


def test_retry_after_is_a_number_or_a_date() -> None:
    """Both forms of RFC 9110; anything else is none."""
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1000), usegmt=True)
    assert retry_after(Reply(429, {"retry-after": " 7 "})) == 7
    assert 900 < (retry_after(Reply(429, {"retry-after": soon})) or 0) <= 1000
    assert retry_after(Reply(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0
    assert [retry_after(Reply(429, {"retry-after": text})) for text in ("", "soon", "-1", "1.5")] == [None] * 4
    assert retry_after(Reply(429)) is None


def test_a_rate_limit_is_kept() -> None:
    """A burst at once, then so many a second; retries count, and a batch counts its events."""
    world = World(ECHO, rate=RateLimit(10.0, burst=5, partitions=1))
    began = world.clock.now
    broker = dispatch(world, published(*range(105)))
    assert len(broker.records("out")) == 105
    assert 9.9 <= world.clock.now - began <= 10.5


def test_a_member_has_its_share_of_the_rate() -> None:
    """Who owns a quarter of the partitions delivers a quarter of the rate; who owns none has nothing to deliver."""

    async def run() -> None:
        clock = InstantClock()
        pace = Pace(RateLimit(8.0, partitions=4), clock)
        pace.own(1)
        began = clock.now
        for _ in range(21):
            await pace.step()
        assert 9.9 <= clock.now - began <= 10.1
        pace.own(0)
        await pace.step()

    asyncio.run(run())
