"""One service at run time: its replicas, where its requests wait, and who decides how many replicas there are."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from headrace.local.activator import Activator
from headrace.local.autoscaler import PROGRESS_DEADLINE, Autoscaler
from headrace.local.clock import SYSTEM_CLOCK
from headrace.local.load import Load
from headrace.local.replicas import ReplicaSet
from headrace.local.status import ServiceStatus
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.local.clock import Clock
    from headrace.local.decisions import Decision
    from headrace.local.replica import Ground, Replica
    from headrace.local.resources import Scale, Service
    from headrace.local.status import TwinEvent
    from headrace.local.template.renewal import Templates


class RunningService:
    """A service of the twin.

    Args:
        ground: What it stands on.
        address: The loopback ``host:port`` of its route; empty where none leads to it.
        hosts: Names that the ingress knows it by.
        on_event: Is told of every start and end of a replica.
        templates: What its replicas are forked from; opened and closed with it.
        clock: Tells the autoscaler the time.
    """

    def __init__(
        self,
        ground: Ground,
        *,
        address: str,
        hosts: tuple[str, ...],
        on_event: Callable[[TwinEvent], None],
        templates: Templates | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        settings, scale = ground.settings, _reached(ground.service.scale, address)
        self.address = address
        self.hosts = hosts
        self.reachable = bool(address)
        """Whether a route leads here; without one there are no replicas, whatever the minimum."""
        self._ground = ground
        self._templates = templates
        self._importing: asyncio.Task[None] | None = None
        self._replicas = ReplicaSet(ground, on_event)
        self._replicas.minimum = scale.minimum
        load = self._load = Load(scale, clock, granularity=settings.report)
        self._turn = 0
        self._autoscaler = Autoscaler(
            scale,
            self._replicas,
            load,
            clock,
            settings=settings,
            deadline=ground.service.deadline or PROGRESS_DEADLINE,
        )
        self.activator = Activator(ground, self._replicas, load, self._autoscaler.poke)
        self._autoscaler.queued = lambda: self.activator.queued + self._at_replicas
        self._autoscaler.reachable = lambda: self.reachable
        self._replicas.gave_up = self._give_up
        self._task: asyncio.Task[None] | None = None

    @property
    def service(self) -> Service:
        """What the manifests say of it."""
        return self._ground.service

    async def acquire(
        self, headers: Mapping[str, str], within: float, passed_on: dict[str, str] | None = None
    ) -> Replica:
        """A replica for one request; give it back with :meth:`release`.

        Through the activator while the spare capacity is below the target burst capacity; else straight to the
        replicas in turn, each of which queues its own.

        Raises:
            HeadraceError: as :meth:`Activator.acquire` and :meth:`Replica.queue`.
        """
        ready = self._replicas.ready
        if self._autoscaler.proxied or not ready:
            return await self.activator.acquire(headers, within, passed_on)
        self._turn += 1
        replica = ready[self._turn % len(ready)]
        self._load.change(1)
        try:
            await self._queued(replica, headers, within)
        except BaseException:
            self._load.change(-1)
            raise
        return replica

    def release(self, replica: Replica) -> None:
        """The request is done with the replica."""
        self.activator.release(replica)

    def start(self) -> None:
        """Start the replicas that are to be there without requests, and begin to scale."""
        if self._templates is not None:
            self._importing = asyncio.ensure_future(self._templates.open())
        if self.reachable:
            self._autoscaler.begin()
        self._task = asyncio.ensure_future(self._autoscaler.run())

    @property
    def proxied(self) -> bool:
        """Whether the activator is in the path of its requests."""
        return self._autoscaler.proxied

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the autoscaler decided lately, the oldest first."""
        return self._autoscaler.decisions.all

    @property
    def scale(self) -> Scale:
        """What it is scaled by now."""
        return self._autoscaler.scale

    def rescale(self, scale: Scale) -> None:
        """Go by changed annotations, without a new replica."""
        scale = _reached(scale, self.address)
        self._replicas.minimum = scale.minimum
        self._autoscaler.configure(scale)

    async def renew(self) -> None:
        """Run the code as its files are now: import it, then replace the replicas, each once a new one is ready."""
        if self._templates is not None and self._importing is not None:
            await self._importing
            await self._templates.renew()
        self._replicas.renew()

    async def stop(self) -> None:
        """Refuse requests, let those at a replica finish, end the replicas."""
        self.activator.close(f"{self.service.name} goes down")
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._replicas.stop()
        if self._templates is not None and self._importing is not None:
            await self._importing
            await self._templates.close()
        self._ground.log.close()

    @property
    def _at_replicas(self) -> int:
        """Requests in the replicas' own queues."""
        return sum(replica.breaker.waiting for replica in self._replicas.all)

    async def _queued(self, replica: Replica, headers: Mapping[str, str], within: float) -> None:
        """Enter the replica's own queue; a wait there is a span of the request's trace."""
        if not replica.breaker.full:
            await replica.queue(within)
            return
        about = {"headrace.service": str(self.service.name), "headrace.replica": replica.name}
        span = self._ground.tracer.start_span("queue-proxy wait", context=tracing.extract(headers), attributes=about)
        with tracing.recorded(span):
            await replica.queue(within)

    def _give_up(self, reason: str) -> None:
        self.activator.refuse_waiting(reason)
        # After those that waited have gone: they are no reason to start again.
        asyncio.get_running_loop().call_soon(self._autoscaler.forget)

    def status(self) -> ServiceStatus:
        """What it is now."""
        replicas = tuple(replica.status() for replica in self._replicas.all)
        return ServiceStatus(
            namespace=self.service.name.namespace,
            name=self.service.name.name,
            app=self.service.app,
            url=f"http://{self.address}" if self.address else "",
            hosts=self.hosts,
            desired=self._replicas.desired,
            replicas=replicas,
            in_flight=sum(replica.in_flight for replica in replicas) - self._at_replicas,
            queued=self.activator.queued + self._at_replicas,
            cold_start=self._replicas.cold_start,
            problem=self._replicas.problem,
            why=self.decisions[-1].why if self.decisions and not self.decisions[-1].at_rest else "",
        )


def _reached(scale: Scale, address: str) -> Scale:
    """The scale of a revision: one that no route leads to keeps no replica, whatever its minimum."""
    return scale if address else replace(scale, minimum=0, initial=0)
