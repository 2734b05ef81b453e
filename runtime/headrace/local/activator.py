"""Where requests wait for a replica: Knative's activator, always in the path."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from random import Random
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import set_span_in_context

from headrace.errors import DeadlineExceededError, OverloadedError, UnavailableError
from headrace.local.balancing import pick
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from headrace.local.autoscaler import Load
    from headrace.local.replica import Ground, Replica
    from headrace.local.replicas import ReplicaSet


class Activator:
    """Hands each request of a service to a replica, first come first served.

    Args:
        ground: What the service stands on.
        replicas: Its replicas.
        load: Is told of every request that comes and goes.
        poke: Called, with the context of its span, when a request has to wait.
    """

    def __init__(
        self, ground: Ground, replicas: ReplicaSet, load: Load, poke: Callable[[Context | None], None]
    ) -> None:
        self._ground = ground
        self._replicas = replicas
        self._load = load
        self._poke = poke
        self._waiting: OrderedDict[asyncio.Future[Replica], None] = OrderedDict()
        self._turn = 0
        # Spreads load; nothing secret.
        self._chance = Random()  # noqa: S311
        self._closed = ""
        replicas.changed = self._serve_waiting
        replicas.gave_up = self._refuse_waiting

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def acquire(self, headers: Mapping[str, str]) -> Replica:
        """A replica that may take one request now; give it back with :meth:`release`.

        A request that has to wait gets a span below the trace context of its ``headers``. A caller that is cancelled
        leaves the queue.

        Raises:
            OverloadedError: too many wait already.
            DeadlineExceededError: no replica came in time.
            UnavailableError: replicas do not start, or the twin goes down.
        """
        if self._closed:
            raise UnavailableError(self._closed)
        replica = None if self._waiting else self._pick()
        if replica is None:
            depth = self._ground.settings.queue_depth
            if self.queued >= depth:
                raise OverloadedError(f"pending request queue full: {depth} requests wait for {self._name}")
            return await self._wait(tracing.extract(headers))
        self._load.change(1)
        return replica

    def release(self, replica: Replica) -> None:
        """The request is done with the replica."""
        replica.given_back()
        self._load.change(-1)
        self._serve_waiting()

    def close(self, reason: str) -> None:
        """Refuse what waits and what comes."""
        self._closed = reason
        self._refuse_waiting(reason)

    @property
    def _name(self) -> str:
        return str(self._ground.service.name)

    async def _wait(self, context: Context) -> Replica:
        attributes: dict[str, AttributeValue] = {"headrace.service": self._name, "headrace.queue.length": self.queued}
        span = self._ground.tracer.start_span("activator wait", context=context, attributes=attributes)
        self._load.change(1)
        try:
            replica = await self._queue(asyncio.get_running_loop().create_future(), span)
            span.set_attribute("headrace.replica", replica.name)
        except BaseException as fault:
            self._load.change(-1)
            if isinstance(fault, asyncio.CancelledError):
                # Its own choice, or its own deadline: no error of the service.
                span.add_event("client left")
            else:
                tracing.fail(span, fault)
            raise
        else:
            return replica
        finally:
            span.end()

    async def _queue(self, turn: asyncio.Future[Replica], span: Span) -> Replica:
        loop = asyncio.get_running_loop()
        deadline = self._ground.service.deadline or self._ground.settings.cold_start
        timer = loop.call_later(deadline, _time_out, turn, f"{self._name} had no replica within {deadline:g} s")
        self._waiting[turn] = None
        try:
            self._poke(set_span_in_context(span, Context()))
            return await turn
        except asyncio.CancelledError:
            # It may have been given a replica in the very moment in which its client left.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                turn.result().given_back()
            raise
        finally:
            timer.cancel()
            self._waiting.pop(turn, None)
            self._serve_waiting()

    def _pick(self) -> Replica | None:
        replica = pick(self._replicas.ready, self._ground.service.scale.concurrency, self._turn, self._chance)
        if replica is not None:
            self._turn += 1
            replica.taken()
        return replica

    def _serve_waiting(self) -> None:
        while self._waiting and (replica := self._pick()):
            self._hand(self._first(), replica)

    def _hand(self, turn: asyncio.Future[Replica], replica: Replica) -> None:
        if turn.done():  # timed out or cancelled, and not awake yet
            replica.given_back()
        else:
            turn.set_result(replica)

    def _first(self) -> asyncio.Future[Replica]:
        return self._waiting.popitem(last=False)[0]

    def _refuse_waiting(self, reason: str) -> None:
        while self._waiting:
            turn = self._first()
            if not turn.done():
                turn.set_exception(UnavailableError(reason))


def _time_out(turn: asyncio.Future[Replica], reason: str) -> None:
    if not turn.done():
        turn.set_exception(DeadlineExceededError(f"activator request timeout: {reason}"))
