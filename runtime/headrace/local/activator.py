"""Where requests wait for a replica: Knative's activator."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import set_span_in_context

from headrace.errors import OverloadedError, UnavailableError
from headrace.local.balancing import pick
from headrace.local.turns import Turns
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.util.types import AttributeValue

    from headrace.local.load import Load
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
        self._turns: Turns[Replica] = Turns(lambda replica: replica.given_back())
        self._turn = 0
        # Spreads load; nothing secret.
        self._chance = Random()  # noqa: S311
        self._closed = ""
        replicas.changed = self._serve_waiting

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._turns)

    async def acquire(
        self, headers: Mapping[str, str], within: float, passed_on: dict[str, str] | None = None
    ) -> Replica:
        """A replica that may take one request now; give it back with :meth:`release`.

        A request that has to wait, ``within`` seconds at most, gets a span below the trace context of its ``headers``.
        Where it brings no trace of its own, ``passed_on`` gets that span's, so that its answer is in one trace with the
        cold start that it waited for. A caller that is cancelled leaves the queue.

        Raises:
            OverloadedError: too many wait already.
            DeadlineExceededError: no replica came in time.
            UnavailableError: replicas do not start, or the twin goes down.
        """
        if self._closed:
            raise UnavailableError(self._closed)
        replica = None if self._turns else self._pick()
        if replica is None:
            depth = self._ground.settings.queue_depth
            if self.queued >= depth:
                raise OverloadedError(f"pending request queue full: {depth} requests wait for {self._name}")
            return await self._wait(
                tracing.extract(headers), within, passed_on if "traceparent" not in headers else None
            )
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
        self.refuse_waiting(reason)

    def refuse_waiting(self, reason: str) -> None:
        """Answer everything that waits with 503."""
        self._turns.refuse(lambda: UnavailableError(reason))

    @property
    def _name(self) -> str:
        return str(self._ground.service.name)

    async def _wait(self, context: Context, within: float, passed_on: dict[str, str] | None) -> Replica:
        attributes: dict[str, AttributeValue] = {"headrace.service": self._name, "headrace.queue.length": self.queued}
        span = self._ground.tracer.start_span("activator wait", context=context, attributes=attributes)
        if passed_on is not None:
            passed_on.update(tracing.inject(span))
        self._load.change(1)
        try:
            self._poke(set_span_in_context(span, Context()))
            late = f"activator request timeout: {self._name} had no replica within {within:.3g} s"
            replica = await self._turns.wait(within, late)
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
            self._serve_waiting()

    def _pick(self) -> Replica | None:
        replica = pick(self._replicas.ready, self._ground.service.scale.concurrency, self._turn, self._chance)
        if replica is not None:
            self._turn += 1
            replica.taken()
        return replica

    def _serve_waiting(self) -> None:
        while self._turns and (replica := self._pick()):
            self._turns.hand(replica)
