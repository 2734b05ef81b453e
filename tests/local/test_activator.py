"""The queue in front of the replicas, moment by moment, without a process."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from tests.local.conftest import until

from headrace.errors import DeadlineExceededError, OverloadedError, UnavailableError
from headrace.local.activator import Activator
from headrace.local.clock import SystemClock
from headrace.local.load import Load
from headrace.local.resources import Name, Scale
from headrace.local.settings import TwinSettings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from opentelemetry.context import Context

    from headrace.local.replica import Replica


class OneByOne:
    """A replica that takes one request at a time."""

    def __init__(self, name: str = "one") -> None:
        self.name = name
        self.in_flight = 0

    def taken(self) -> None:
        """A request goes to it."""
        self.in_flight += 1

    def given_back(self) -> None:
        """A request is done."""
        self.in_flight -= 1


class Stage:
    """An activator with `replicas` in front of which requests wait."""

    def __init__(self, *, deadline: float = 60.0) -> None:
        self.deadline = deadline
        service = SimpleNamespace(name=Name("vision", "labels"), scale=Scale(concurrency=1))
        ground: Any = SimpleNamespace(service=service, settings=TwinSettings(queue_depth=3), tracer=trace.NoOpTracer())
        self.load = Load(Scale(), SystemClock())
        self.pokes = 0
        replicas: Any = SimpleNamespace(ready=(), changed=None)
        self.replicas = replicas
        self.activator = Activator(ground, replicas, self.load, self._poke)

    def _poke(self, _: Context | None) -> None:
        self.pokes += 1

    def ask(self) -> asyncio.Task[Replica]:
        """A request."""
        acquiring: Coroutine[Any, Any, Replica] = self.activator.acquire({}, self.deadline)
        return asyncio.ensure_future(acquiring)

    async def wait(self, queued: int) -> None:
        """Until so many wait."""
        await until(lambda: self.activator.queued == queued)

    def add(self, replica: OneByOne) -> None:
        """A replica is ready."""
        self.replicas.ready = (*self.replicas.ready, replica)
        self.replicas.changed()


def test_first_come_first_served() -> None:
    """A request that comes while others wait does not overtake them, also when a place is free at that moment."""

    async def scenario() -> None:
        stage = Stage()
        order: list[int] = []

        async def request(number: int) -> None:
            replica = await stage.activator.acquire({}, 60.0)
            order.append(number)
            await asyncio.sleep(0)
            stage.activator.release(replica)

        first = [asyncio.ensure_future(request(number)) for number in range(3)]
        await stage.wait(3)
        assert stage.pokes == 3
        stage.add(OneByOne())
        await asyncio.gather(*first, request(3))
        assert order == [0, 1, 2, 3]

    asyncio.run(scenario())


def test_a_replica_given_to_a_leaving_client_is_given_back() -> None:
    """The client is cancelled in the moment in which its turn comes: the next gets the place, and no load is left."""

    async def scenario() -> None:
        stage = Stage()
        leaving, staying = stage.ask(), stage.ask()
        await stage.wait(2)
        replica = OneByOne()
        stage.add(replica)
        leaving.cancel()
        assert await asyncio.wait_for(staying, 5) is replica  # type: ignore[comparison-overlap]  # a stand-in
        assert leaving.cancelled()
        assert (replica.in_flight, stage.load.current, stage.activator.queued) == (1, 1, 0)
        stage.activator.release(staying.result())
        assert (replica.in_flight, stage.load.current) == (0, 0)

    asyncio.run(scenario())


def test_a_replica_is_not_lost_to_a_client_that_left_before() -> None:
    """The turn of a client that was cancelled, and has not woken to leave the queue, goes to the next."""

    async def scenario() -> None:
        stage = Stage()
        leaving, staying = stage.ask(), stage.ask()
        await stage.wait(2)
        leaving.cancel()
        replica = OneByOne()
        stage.add(replica)
        assert await asyncio.wait_for(staying, 5) is replica  # type: ignore[comparison-overlap]  # a stand-in
        assert (replica.in_flight, stage.load.current) == (1, 1)

    asyncio.run(scenario())


def test_refusals() -> None:
    """Over the depth, past the deadline, when starts are given up on, and when the twin goes down."""

    async def scenario() -> None:
        stage = Stage()
        waiting = [stage.ask() for _ in range(3)]
        await stage.wait(3)
        with pytest.raises(OverloadedError, match="queue full: 3"):
            await stage.ask()
        for request in waiting:
            request.cancel()
        with pytest.raises(DeadlineExceededError, match="activator request timeout"):
            await Stage(deadline=0.05).ask()
        stage = Stage()
        request = stage.ask()
        await stage.wait(1)
        stage.activator.refuse_waiting("no weights")
        with pytest.raises(UnavailableError, match="no weights"):
            await request
        request = stage.ask()
        await stage.wait(1)
        stage.activator.close("goes down")
        for refused in (request, stage.ask()):
            with pytest.raises(UnavailableError, match="goes down"):
                await refused
        assert (stage.load.current, stage.activator.queued) == (0, 0)

    asyncio.run(scenario())
