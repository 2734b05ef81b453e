"""One service at run time: its replicas, where its requests wait, and who decides how many replicas there are."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headrace.local.activator import Activator
from headrace.local.autoscaler import Autoscaler, Load
from headrace.local.clock import SYSTEM_CLOCK
from headrace.local.replicas import ReplicaSet
from headrace.local.status import ServiceStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.local.clock import Clock
    from headrace.local.replica import Ground
    from headrace.local.resources import Service
    from headrace.local.status import TwinEvent
    from headrace.local.template.template import Template


class RunningService:
    """A service of the twin.

    Args:
        ground: What it stands on.
        address: Its own loopback ``host:port``.
        hosts: Names that the ingress knows it by.
        on_event: Is told of every start and end of a replica.
        template: What its replicas are forked from; opened and closed with it.
        clock: Tells the autoscaler the time.
    """

    def __init__(
        self,
        ground: Ground,
        *,
        address: str,
        hosts: tuple[str, ...],
        on_event: Callable[[TwinEvent], None],
        template: Template | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        settings, scale = ground.settings, ground.service.scale
        self.address = address
        self.hosts = hosts
        self._ground = ground
        self._template = template
        self._importing: asyncio.Task[None] | None = None
        self._replicas = ReplicaSet(ground, on_event)
        self._load = Load(scale.window, clock)
        self._autoscaler = Autoscaler(
            scale, self._replicas, self._load, clock, tick=settings.tick, limit=settings.replica_limit
        )
        self.activator = Activator(ground, self._replicas, self._load, self._autoscaler.poke)
        self._task: asyncio.Task[None] | None = None

    @property
    def service(self) -> Service:
        """What the manifests say of it."""
        return self._ground.service

    def start(self) -> None:
        """Start the replicas that are to be there without requests, and begin to scale."""
        if self._template is not None:
            self._importing = asyncio.ensure_future(self._template.open())
        self._replicas.scale_to(self.service.scale.minimum)
        self._task = asyncio.ensure_future(self._autoscaler.run())

    async def stop(self) -> None:
        """Refuse requests, let those at a replica finish, end the replicas."""
        self.activator.close(f"{self.service.name} goes down")
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._replicas.stop()
        if self._template is not None and self._importing is not None:
            await self._importing
            await self._template.close()
        self._ground.log.close()

    def status(self) -> ServiceStatus:
        """What it is now."""
        replicas = tuple(replica.status() for replica in self._replicas.all)
        return ServiceStatus(
            namespace=self.service.name.namespace,
            name=self.service.name.name,
            app=self.service.app,
            url=f"http://{self.address}",
            hosts=self.hosts,
            desired=self._replicas.desired,
            replicas=replicas,
            in_flight=sum(replica.in_flight for replica in replicas),
            queued=self.activator.queued,
            cold_start=self._replicas.cold_start,
            problem=self._replicas.problem,
        )
