"""The twin: one app's manifests, running on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import trace

from headrace.eventing.kafka.environment import VARIABLES, kafka_settings
from headrace.local.assembly import Assembly
from headrace.local.clock import SYSTEM_CLOCK
from headrace.local.commands import Surroundings, unknown_hosts
from headrace.local.decisions import to_json
from headrace.local.dispatchers import Dispatchers, Single
from headrace.local.h2_proxy import H2Proxy
from headrace.local.ingress import METRICS, Door, Ingress, straight_to
from headrace.local.kafka_process import SUBJECT, KafkaProcess
from headrace.local.lives import Lives
from headrace.local.metrics import TwinMeasures
from headrace.local.mounts import write_mounts
from headrace.local.otlp import OtlpReceiver
from headrace.local.plan import plan
from headrace.local.plan_eventing import BROKER_INGRESS, SINK_INGRESS
from headrace.local.proxy import Proxy, new_session
from headrace.local.readiness import new_probing_session
from headrace.local.routing import Route as Found
from headrace.local.running_route import RunningRoute
from headrace.local.settings import DEFAULTS, TwinSettings
from headrace.local.state import HOME_VARIABLE, Home, State, created
from headrace.local.status import TwinEvent, TwinStatus, WorkloadStatus
from headrace.local.trace_store import TraceStore
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from opentelemetry.trace import Tracer
    from typing_extensions import Self

    from headrace.local.clock import Clock
    from headrace.local.decisions import Decision
    from headrace.local.resources import Name, Topic, Workload
    from headrace.local.running_service import RunningService
    from headrace.local.state import RunningApp

SERVICE_NAME = "headrace-activator"
"""``service.name`` of the twin's own spans."""
# Of the shell that started the twin, not of its processes: each has its own, or none.
_NOT_INHERITED = frozenset({"TRACEPARENT", "TRACESTATE", "PORT", "OTEL_SERVICE_NAME"})


class Twin:
    """Runs resources as Knative, KServe and Kubernetes would, in miniature.

    Args:
        resources: Parsed manifests, in any order.
        home: Folder of state, logs, traces and the embedded Kafka.
        kafka: ``host:port`` of a broker; None starts the embedded one as a child.
        port: Public port of the ingress on 127.0.0.1; 0 takes a free one.
        cwd: Working folder of the containers: where ``headrace.yaml`` and the user's classes lie.
        apps: What ``state.json`` shall say about the apps.
        environment: What the containers inherit; their own ``env`` goes before it.
        settings: How the twin itself behaves.
        echo: Called with every line that a container writes, ``replica-name | line``.
        on_event: Called with everything that happens, on the event loop.
        create_topics: Awaited with the broker's address and the topics before anything that needs them starts.
        clock: Tells the autoscalers the time.

    Raises:
        ConfigurationError: a resource lacks a field; every one is named. Nothing has started.
    """

    def __init__(
        self,
        resources: Sequence[Mapping[str, Any]],
        *,
        home: Path,
        kafka: str | None,
        port: int = 8080,
        cwd: Path | None = None,
        apps: tuple[RunningApp, ...] = (),
        environment: Mapping[str, str] = os.environ,
        settings: TwinSettings = DEFAULTS,
        echo: Callable[[str], None] | None = None,
        on_event: Callable[[TwinEvent], None] | None = None,
        create_topics: Callable[[str, tuple[Topic, ...]], Awaitable[None]] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.plan = plan(resources)
        """What the resources mean here."""
        self.home = Home(home.absolute())
        self.ingress_url = ""
        """Once started."""
        self.kafka = kafka or ""
        """``host:port``, once started."""
        self.otlp_url = ""
        """Once started."""
        self.otlp_rpc_url = ""
        """Once started."""
        self._embedded_kafka = kafka is None
        self._port = port
        self.apps = apps
        """What `state.json` says about the apps."""
        self._environment = environment
        self._settings = settings
        self._on_event = on_event or (lambda _: None)
        self._create_topics = create_topics
        self._clock = clock
        self._assembly = Assembly(
            self.plan, self.home, cwd=cwd, settings=settings, clock=clock, on_event=self._on_event, echo=echo
        )
        self._services: list[RunningService] = []
        self._workloads: list[tuple[Workload, Dispatchers | Single]] = []
        self._addresses: Mapping[Name, str] = {}
        self._ending = AsyncExitStack()

    async def start(self) -> None:
        """Start it all, and publish ``state.json``. What a failed start began is ended again.

        Raises:
            ConfigurationError: another twin has the home, or the port is taken.
            UnavailableError: the broker does not come up, or the disk takes nothing.
        """
        try:
            await self._start()
        except BaseException:
            await self._ending.aclose()
            raise

    async def stop(self) -> None:
        """End it all along the stream, so that nothing in flight is lost: dispatcher, replicas, broker, receiver."""
        await self._ending.aclose()

    async def run_until(self, ended: Awaitable[Any]) -> None:
        """Start, wait for ``ended`` (such as a signal), stop."""
        async with self:
            await ended

    async def renew(self) -> None:
        """Run the services' code as its files are now; requests are answered meanwhile, by the old code or the new."""
        await asyncio.gather(*(running.renew() for running in self._services))

    def status(self) -> TwinStatus:
        """What runs now."""
        return TwinStatus(
            ingress=self.ingress_url,
            kafka=self.kafka,
            otlp=self.otlp_url,
            otlp_rpc=self.otlp_rpc_url,
            services=tuple(running.status() for running in self._services),
            workloads=tuple(
                WorkloadStatus(
                    namespace=workload.name.namespace,
                    name=supervisor.subject.rpartition("/")[2],
                    state=supervisor.state,
                    pid=supervisor.pid,
                    restarts=supervisor.restarts,
                    problem=supervisor.problem,
                    paused=self.home.pause_file(workload.name.name.removesuffix("-dispatcher")).exists(),
                )
                for workload, running in self._workloads
                for supervisor in running.running
            ),
            skipped=self.plan.skipped,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def decisions(self) -> dict[str, tuple[Decision, ...]]:
        """What the autoscaler of each service decided lately, by its name."""
        return {str(running.service.name): running.decisions for running in self._services}

    @property
    def events_url(self) -> str:
        """Where events for Brokers and KafkaSinks are posted; empty without any."""
        port = self._assembly.event_port
        return f"http://127.0.0.1:{port}" if port else ""

    def rescale(self, resources: Sequence[Mapping[str, Any]]) -> list[str]:
        """Go by the scale that these resources ask for, with the replicas that run; what was done, in lines.

        Raises:
            ConfigurationError: as for the resources of the twin; nothing is changed then.
        """
        wanted = {service.name: service for service in plan(resources).services}
        lines = []
        for running in self._services:
            service = wanted.get(running.service.name)
            if service is None or service.scale == running.scale:
                continue
            if service.scale.concurrency != running.scale.concurrency:
                lines.append(f"{service.name}: another containerConcurrency is another revision: `headrace up` again")
            running.rescale(replace(service.scale, concurrency=running.scale.concurrency))
            lines.append(f"{service.name}: scaled by its changed annotations")
        return lines

    def proxied(self, service: Name) -> bool:
        """Whether the activator is in the path of this service's requests."""
        return next(running.proxied for running in self._services if running.service.name == service)

    async def _start(self) -> None:
        """Each step leaves behind how it is undone: ending goes through them backwards."""
        self.home.lock()
        self._ending.callback(self.home.unlock)
        self._ending.callback(self.home.remove)
        write_mounts(self.plan, self.home.mounts)
        self._say_what_does_not_run()
        tracer = await self._start_tracing()
        await self._start_kafka()
        await self._start_services(tracer)
        self._start_eventing()
        self._start_workloads()
        self._publish()

    def _say_what_does_not_run(self) -> None:
        for skipped in self.plan.skipped:
            subject, _, reason = skipped.partition(": ")
            self._on_event(TwinEvent("skipped", subject, detail=reason))
        for ignored in self.plan.ignored:
            field, _, reason = ignored.rpartition(": ")
            self._on_event(TwinEvent("ignored", field, detail=reason))
        known = frozenset(self._known_names())
        for name, container in self.plan.pods:
            for host in unknown_hosts(container, known):
                self._on_event(TwinEvent("note", str(name), detail=f"no service here is called {host}"))

    def _known_names(self) -> list[Name]:
        led = [name for workload in self.plan.workloads for name, _ in workload.addresses]
        return [*(name for route in self.plan.routes for name in route.names), *led, BROKER_INGRESS, SINK_INGRESS]

    async def _start_tracing(self) -> Tracer:
        store = await asyncio.to_thread(TraceStore.create, self.home.traces, max_spans=self._settings.max_spans)
        self._ending.callback(store.close)
        receiver = OtlpReceiver(store)
        self._ending.push_async_callback(receiver.stop)
        await receiver.start()
        self.otlp_url, self.otlp_rpc_url = receiver.url, receiver.rpc_url
        provider = tracing.configure(SERVICE_NAME, self._inherited(), globally=False)
        if provider is None:
            return trace.NoOpTracer()
        # Sends what is left, to the receiver too, which is up until then.
        self._ending.push_async_callback(asyncio.to_thread, provider.shutdown)
        # Of this provider, not the process's: a second twin in one process has spans of its own.
        return provider.get_tracer(__name__)

    async def _start_kafka(self) -> None:
        if self._embedded_kafka:
            broker = KafkaProcess(
                self.home.kafka,
                self._inherited(),
                log=self._assembly.log(SUBJECT),
                settings=self._settings,
                on_event=self._on_event,
            )
            self.kafka = broker.address
            self._ending.push_async_callback(broker.stop)
            await broker.start()
        if self._create_topics is not None and self.plan.topics:
            await self._create_topics(self.kafka, self.plan.topics)
        self._lives = Lives(self.kafka, None if self._embedded_kafka else self._environment)
        # Behind the replicas' end, and before the broker's.
        self._ending.push_async_callback(asyncio.to_thread, self._lives.close)

    async def _start_services(self, tracer: Tracer) -> None:
        session = new_session()
        self._ending.push_async_callback(session.close)
        proxy, streams = Proxy(session), H2Proxy()
        self._ending.callback(streams.close)
        probing = new_probing_session()
        self._ending.push_async_callback(probing.close)
        public = await self._open(self._port)
        self.ingress_url = f"http://{public.address}"
        # All doors first: services know each other by address.
        doors = [(route, await self._open(0)) for route in self.plan.routes]
        self._addresses = {
            **{name: door.address for route, door in doors for name in route.names},
            **self._assembly.addresses(),
        }
        around = self._surroundings()
        self._ending.push_async_callback(_all_at_once, self._services)
        for service in self.plan.services:
            self._services.append(self._assembly.service(service, around, probing, tracer=tracer, lives=self._lives))
        revisions = {running.service.name: running for running in self._services}
        routes = [RunningRoute(route, revisions, self._clock, door.address) for route, door in doors]
        by_name = {name: route for route in routes for name in route.route.names}
        for route, (_, door) in zip(routes, doors, strict=True):
            door.handler = straight_to(route, proxy)
            door.http2 = partial(streams.link, partial(_only, route))
        pages: dict[str, Callable[[], bytes]] = {
            "/": lambda: self.status().to_json(),
            "/decisions": lambda: to_json(self.decisions()),
            METRICS: TwinMeasures(self.status).page,
        }
        ingress = Ingress(by_name, proxy, pages)
        public.handler, public.http2 = ingress.handle, partial(streams.link, ingress.find)
        for running in self._services:
            running.start()

    def _start_eventing(self) -> None:
        """Before what posts events there, and ended after it."""
        if plane := self._assembly.eventing(self._surroundings()):
            self._ending.push_async_callback(plane.stop)
            plane.start()

    def _start_workloads(self) -> None:
        around = self._surroundings()
        kafka = self.kafka if self._embedded_kafka else kafka_settings(self._environment, bootstrap=self.kafka)
        for workload in self.plan.workloads:
            scaled = self._assembly.dispatchers(workload, around, kafka)
            self._workloads.append((workload, scaled or Single(self._assembly.workload(workload, around))))
        self._ending.push_async_callback(_all_at_once, [running for _, running in self._workloads])
        for _, running in self._workloads:
            running.start()

    def _publish(self) -> None:
        pid = os.getpid()
        self.home.write(
            State(
                pid=pid,
                created=created(pid) or 0.0,
                kafka=self.kafka,
                ingress=self.ingress_url,
                otlp=self.otlp_url,
                traces=str(self.home.traces),
                logs=str(self.home.logs),
                apps=self.apps,
            )
        )

    async def _open(self, port: int) -> Door:
        door = Door()
        self._ending.push_async_callback(door.close)
        await door.open(port)
        return door

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            addresses=self._addresses,
            kafka=self.kafka,
            mounts=self.home.mounts,
            environment=self._inherited(),
            dropped=VARIABLES if self._embedded_kafka else frozenset(),
        )

    def _inherited(self) -> dict[str, str]:
        """What every process of the twin has in its environment."""
        return {
            **{key: value for key, value in self._environment.items() if key not in self._not_inherited()},
            "PYTHONUNBUFFERED": "1",
            # Programs that are installed beside this interpreter are found, be its environment activated or not.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), self._environment.get("PATH", os.defpath))),
            # The working folder shadows no module; `headrace serve` finds the user's class there by itself.
            "PYTHONSAFEPATH": "1",
            # A container listens on all addresses of its own network; here that would be everybody's.
            "HEADRACE_HOST": "127.0.0.1",
            "HEADRACE_GRPC_PORT": "0",
            tracing.LOCAL_ENDPOINT: self.otlp_url,
            HOME_VARIABLE: str(self.home.path),
        }

    def _not_inherited(self) -> frozenset[str]:
        # The settings of a cluster elsewhere, with its secrets, are not those of the embedded broker.
        return _NOT_INHERITED | VARIABLES if self._embedded_kafka else _NOT_INHERITED


def _only(route: RunningRoute, _: str, path: str) -> Found[RunningRoute]:
    """A route's own port has no other."""
    return Found(route, path)


class _Stoppable(Protocol):
    async def stop(self) -> None: ...


async def _all_at_once(parts: Sequence[_Stoppable]) -> None:
    """Stop them together; one that fails to stop leaves none of the others running."""
    results = await asyncio.gather(*(part.stop() for part in parts), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
