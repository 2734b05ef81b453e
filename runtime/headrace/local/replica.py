"""One replica of a service: a process from its start to its end, and the span of its cold start."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError, UnavailableError
from headrace.local.breaker import Breaker
from headrace.local.children import STARTED
from headrace.local.commands import beside_command, service_command
from headrace.local.pod import Part, Pod
from headrace.local.probes import USUAL
from headrace.local.processes import free_ports
from headrace.local.readiness import Readiness, until_ready
from headrace.local.status import ReplicaStatus
from headrace.local.watching import Watched, watch
from headrace.serving.metering.setup import REPLICA
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    import aiohttp
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from headrace.local.children import Origin
    from headrace.local.commands import Command, Surroundings
    from headrace.local.containers import Container
    from headrace.local.logs import LogFile
    from headrace.local.resources import Service
    from headrace.local.settings import TwinSettings
    from headrace.local.status import ReplicaState


@dataclass(frozen=True, slots=True)
class Ground:
    """What all replicas of one service stand on."""

    service: Service
    around: Surroundings
    cwd: Path | None
    log: LogFile
    probing: aiohttp.ClientSession
    """For probes."""
    tracer: Tracer
    settings: TwinSettings
    origin: Origin
    """Makes its processes."""
    lived: Callable[[Replica], None] = lambda _: None
    """Told of each replica whose process has ended."""


class Replica:
    """A replica that is starting, ready, suspect, draining, or over.

    Args:
        name: Unique in its service.
        ground: What it stands on.
        changed: Called when its state changes.
    """

    def __init__(self, name: str, ground: Ground, changed: Callable[[], None]) -> None:
        self.name = name
        self.unique = f"{name}-{uuid.uuid4().hex[:8]}"
        """Its name among all replicas that ever were; ``name`` is one of this twin's alone."""
        self.in_flight = 0
        """Requests at it, those in its own queue included."""
        self.breaker = Breaker(ground.service.scale.concurrency, name)
        self.state: ReplicaState = "starting"
        self.ready_after = 0.0
        """Seconds from the start to readiness."""
        ports = free_ports(frozenset().union(*(each.ports for each in self._containers(ground))))
        self.port = ports[ground.service.container.port]
        http2 = ground.service.container.http2_port
        self.http2_port = ports[http2] if http2 else 0
        """Where it takes HTTP/2 and gRPC; 0 is nowhere."""
        self._ports = ports
        self._ground = ground
        self._changed = changed
        self._process: Pod | None = None
        self._watched: list[Watched] = []
        self._watching: list[asyncio.Task[None]] = []
        self._death = ""
        self._began = time.monotonic()
        self._leaving = asyncio.Event()
        self._unused = asyncio.Event()
        self._reprobing: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The number of its process; 0 before it has one."""
        return self._process.pid if self._process else 0

    @property
    def lived(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._began

    async def start(self, cause: Context | None) -> bool:
        """Start and wait until it is ready; the cold start is a span below ``cause``.

        Returns:
            Whether it is ready; False when it was told to leave meanwhile.

        Raises:
            HeadraceError: it ended before, or was not ready in time; it is gone then.
        """
        self._began = time.monotonic()
        attributes = {"headrace.service": str(self._ground.service.name), "headrace.replica": self.name}
        span = self._ground.tracer.start_span("cold start", context=cause, attributes=attributes)
        try:
            ready = await self._start(span)
        except HeadraceError as fault:
            tracing.fail(span, fault)
            raise
        finally:
            span.end()
        if ready:
            self.ready_after = self.lived
            self._watching = watch(self._watched, unready=self._unready, dead=self._dead)
            self._enter("ready")
        return ready

    async def ended(self) -> str:
        """Wait until the process is gone, and say how it went."""
        assert self._process is not None
        reason = await self._process.over()
        return f"{self._death}, and {reason}" if self._death else reason

    async def until_leaving(self) -> str | None:
        """Wait for the end of the process, told how it went, or for :meth:`leave`, told nothing."""
        return await self._unless_leaving(self.ended())

    def leave(self) -> None:
        """Take no more requests; the owner of its life then calls :meth:`drain`."""
        self._enter("draining")
        self._leaving.set()
        if self.in_flight == 0:
            self._unused.set()

    async def drain(self) -> None:
        """Let the requests in flight finish, then end the process; both within the grace period."""
        if self._process is None or self._process.ended:
            return
        grace = self._ground.settings.drain
        began = time.monotonic()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._unused.wait(), grace)
        # What is left of the grace is for its own cleaning up.
        await self._process.stop(max(1.0, grace - (time.monotonic() - began)))

    def kill(self) -> None:
        """End it without a grace."""
        if self._process is not None:
            self._process.kill()

    def taken(self) -> None:
        """A request goes to it; who calls this knows that it has room."""
        self.in_flight += 1
        self.breaker.take()

    async def queue(self, within: float) -> None:
        """A request goes to it, as soon as it has room.

        Raises:
            HeadraceError: too many wait for it, it had no room in time, or it is gone.
        """
        self.in_flight += 1
        try:
            await self.breaker.enter(within)
        except BaseException:
            self._one_less()
            raise

    def given_back(self) -> None:
        """A request is done with it."""
        self.breaker.leave()
        self._one_less()

    def suspect(self) -> None:
        """It broke a connection: it gets no request until a probe succeeds, and is killed when none does for long."""
        if self.state == "ready":
            self._enter("suspect")
            self._reprobing = asyncio.ensure_future(self._reprobe())

    def status(self) -> ReplicaStatus:
        """What it is now."""
        return ReplicaStatus(self.name, self.state, self.pid, self.port, self.in_flight)

    async def close(self) -> None:
        """Let nothing of it go on; its process is gone or killed."""
        self.kill()
        self.breaker.close()
        for task in self._watching:
            task.cancel()
        if self._watching:
            await asyncio.wait(self._watching)
        if self._reprobing is not None:
            self._reprobing.cancel()
            await asyncio.wait([self._reprobing])
        if self._process is not None:
            await self._process.wait()

    async def _start(self, span: Span) -> bool:
        ground = self._ground
        told = {**tracing.inject(span), REPLICA: self.unique}
        self._process = await Pod.start(self._parts(told), ground.log)
        span.set_attribute("headrace.cold_start.spawned", self.lived)
        span.set_attribute("headrace.cold_start.forked", self._process.forked)
        span.set_attribute("process.pid", self.pid)
        deadline = min(ground.service.deadline or ground.settings.cold_start, self._startup_deadline())
        reason = await self._unless_leaving(self._ready_or_ended(span, deadline))
        if self._leaving.is_set():
            return False
        if reason:
            self.kill()
            raise UnavailableError(f"{self.name} {reason}")
        span.set_attribute("headrace.cold_start.ready", self.lived)
        return True

    async def _ready_or_ended(self, span: Span, deadline: float) -> str:
        """Empty once ready, else why it never will be."""
        probing = asyncio.ensure_future(
            until_ready(
                self._probe,
                self._ground.settings.probe_interval,
                lambda: span.set_attribute("headrace.cold_start.listening", self.lived),
            )
        )
        ending = asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait([probing, ending], timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            # Another process may answer at the port of one that ended for that very reason.
            if ending.done():
                return f"{ending.result()} before it was ready"
            if not probing.done():
                return f"was not ready within {deadline:g} s"
            probing.result()
            return ""
        finally:
            probing.cancel()
            ending.cancel()

    async def _unless_leaving(self, doing: Coroutine[Any, Any, str]) -> str | None:
        """The result of ``doing``, or None where it is told to leave first."""
        work = asyncio.ensure_future(doing)
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait([work, leaving], return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            work.cancel()
            leaving.cancel()

    @staticmethod
    def _containers(ground: Ground) -> tuple[Container, ...]:
        return (ground.service.container, *ground.service.beside)

    def _parts(self, told: Mapping[str, str]) -> list[Part]:
        """The processes to start: of each container one, which know each other by the ports of all."""
        ground, parts = self._ground, []
        for place, container in enumerate(self._containers(ground)):
            command = (
                beside_command(ground.service, container, self.name, self._ports, ground.around)
                if place
                else service_command(ground.service, self.name, self._ports, ground.around)
            )
            command = _told(command, told)
            cwd = working_folder(ground.cwd, container.folder)
            name = f"{self.name}/{container.name}" if place else self.name
            parts.append(Part(name, command, cwd, STARTED if place else ground.origin))
            watched = Watched(container, command, cwd=cwd, ports=self._ports, session=ground.probing)
            self._watched.append(watched)
        return parts

    def _startup_deadline(self) -> float:
        """What startup probes give: their delay, and then each failure's period."""
        probes = [each.startup for each in self._containers(self._ground) if each.startup]
        return min((probe.delay + probe.failures * probe.period for probe in probes), default=float("inf"))

    async def _probe(self) -> Readiness:
        for place, watched in enumerate(self._watched):
            # A container beside needs no probe; the one that takes requests has at least a port.
            found = await watched.ready(None if place else USUAL)
            if found is not Readiness.READY:
                return found
        return Readiness.READY

    def _unready(self, is_so: bool) -> None:  # noqa: FBT001 - told by its probe
        if is_so and self.state == "ready":
            self._enter("unready")
        elif not is_so and self.state == "unready":
            self._enter("ready")

    def _dead(self, why: str) -> None:
        self._death = why
        self.kill()

    async def _reprobe(self) -> None:
        settings = self._ground.settings
        try:
            await asyncio.wait_for(until_ready(self._probe, settings.probe_interval), settings.suspect)
            found: ReplicaState | None = "ready"
        except asyncio.TimeoutError:
            found = None
        if self.state != "suspect":
            return
        if found:
            self._enter(found)
        else:
            self.kill()

    def _one_less(self) -> None:
        self.in_flight -= 1
        if self.state == "draining" and self.in_flight == 0:
            self._unused.set()

    def _enter(self, state: ReplicaState) -> None:
        self.state = state
        self._changed()


def working_folder(usual: Path | None, wanted: str) -> Path | None:
    """Where a container's process runs: the folder that it says, where that is on this machine, else the usual one."""
    if not wanted:
        return usual
    found = (usual / wanted) if usual else Path(wanted)
    return found if found.is_dir() else usual


def _told(command: Command, said: Mapping[str, str]) -> Command:
    variables = {key.upper(): value for key, value in said.items()}
    return replace(command, environment={**command.environment, **variables})
