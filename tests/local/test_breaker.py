"""The queue of one replica, moment by moment."""

from __future__ import annotations

import asyncio

import pytest
from tests.local.conftest import until

from headrace.errors import DeadlineExceededError, OverloadedError, UnavailableError
from headrace.local.breaker import Breaker


def test_ten_times_as_many_wait_as_are_let_in() -> None:
    """Knative's queue-proxy: with a concurrency of 2, twenty wait and one more is refused; first come, first served."""

    async def scenario() -> None:
        breaker = Breaker(2, "labels-1")
        for _ in range(2):
            await breaker.enter(1)
        order: list[int] = []

        async def request(number: int) -> None:
            await breaker.enter(30)
            order.append(number)

        waiting = [asyncio.ensure_future(request(number)) for number in range(20)]
        await until(lambda: breaker.waiting == 20)
        with pytest.raises(OverloadedError, match="pending request queue full: 20 requests wait at labels-1"):
            await breaker.enter(30)
        for _ in range(22):
            breaker.leave()
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert order == list(range(20))
        assert (breaker.waiting, breaker.full) == (0, False)

    asyncio.run(scenario())


def test_without_a_concurrency_everybody_is_let_in() -> None:
    """ContainerConcurrency 0."""

    async def scenario() -> None:
        breaker = Breaker(0, "labels-1")
        for _ in range(1000):
            await breaker.enter(0)
        assert not breaker.full

    asyncio.run(scenario())


def test_a_wait_ends_by_its_deadline_by_its_client_and_with_the_replica() -> None:
    """Each leaves its place to the next."""

    async def scenario() -> None:
        breaker = Breaker(1, "labels-1")
        await breaker.enter(1)
        with pytest.raises(DeadlineExceededError, match="no room in time"):
            await breaker.enter(0.01)
        leaving = asyncio.ensure_future(breaker.enter(30))
        staying = asyncio.ensure_future(breaker.enter(30))
        await until(lambda: breaker.waiting == 2)
        leaving.cancel()
        breaker.leave()
        await staying
        assert breaker.full
        last = asyncio.ensure_future(breaker.enter(30))
        await until(lambda: breaker.waiting == 1)
        breaker.close()
        with pytest.raises(UnavailableError, match="labels-1 is gone"):
            await last

    asyncio.run(scenario())
