"""What a twin is put together from: services with their templates, workloads, and the eventing process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.local.children import Started
from headrace.local.commands import service_command, workload_command
from headrace.local.dispatchers import Dispatchers, GroupLag
from headrace.local.eventing_plane import EVENTING, eventing_command
from headrace.local.kafka_process import usable_port
from headrace.local.logs import LogFile
from headrace.local.plan_eventing import BROKER_INGRESS, SINK_INGRESS
from headrace.local.processes import free_ports
from headrace.local.replica import Ground, working_folder
from headrace.local.resources import Name
from headrace.local.routing import public_hosts
from headrace.local.running_service import RunningService
from headrace.local.status import TwinEvent
from headrace.local.supervisor import Supervisor
from headrace.local.template.renewal import Templates
from headrace.local.template.template import Template, may_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import aiohttp
    from opentelemetry.trace import Tracer

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.local.clock import Clock
    from headrace.local.commands import Surroundings
    from headrace.local.lives import Lives
    from headrace.local.resources import Plan, Service, Workload
    from headrace.local.settings import TwinSettings
    from headrace.local.state import Home


class Assembly:
    """Makes the parts of one twin.

    Args:
        plan: What they are.
        home: Folder of logs and of what the eventing process reads.
        cwd: Working folder of the containers.
        settings: How they behave.
        clock: Tells the autoscalers the time.
        on_event: Is told of every start and end.
        echo: Called with every line that a process writes.
    """

    def __init__(
        self,
        plan: Plan,
        home: Home,
        *,
        cwd: Path | None,
        settings: TwinSettings,
        clock: Clock,
        on_event: Callable[[TwinEvent], None],
        echo: Callable[[str], None] | None,
    ) -> None:
        self.event_port = 0
        """Where events for Brokers and KafkaSinks are posted; 0 without any."""
        self._plan = plan
        self._home = home
        self._cwd = cwd
        self._settings = settings
        self._clock = clock
        self._on_event = on_event
        self._echo = echo
        self._ports: dict[Name, Mapping[int, int]] = {}

    def log(self, name: str) -> LogFile:
        """The log of one service or workload."""
        return LogFile(self._home.logs / f"{name}.log", max_bytes=self._settings.log_bytes, echo=self._echo)

    def addresses(self) -> dict[Name, str]:
        """Of all that no door of the twin's stands before: workloads with a Service, and the event ingress."""
        return {**self._addresses_of_workloads(), **self._addresses_of_ingresses()}

    def service(
        self, service: Service, around: Surroundings, probing: aiohttp.ClientSession, *, tracer: Tracer, lives: Lives
    ) -> RunningService:
        """A revision, not yet started."""
        log = self.log(f"{service.name.namespace}.{service.name.name}")
        templates = self._templates(service, around, log)
        ground = Ground(
            service=service,
            around=around,
            cwd=self._cwd,
            log=log,
            probing=probing,
            tracer=tracer,
            settings=self._settings,
            origin=templates or Started(),
            lived=lambda replica: lives.ended(service, replica),
        )
        names = [name for route in self._plan.routes if route.leads_to(service.name) for name in route.names]
        return RunningService(
            ground,
            templates=templates,
            clock=self._clock,
            address=around.addresses[names[0]] if names else "",
            hosts=public_hosts(tuple(names)),
            on_event=self._on_event,
        )

    def workload(self, workload: Workload, around: Surroundings, number: int = 1) -> Supervisor:
        """A process that is always up, not yet started; from the second of a Deployment on it has a name of its own."""
        container, ports = workload.container, self._ports.get(workload.name) if number == 1 else None
        name = workload.name
        pod = name if number == 1 else Name(name.namespace, f"{name.name}-{number}")
        return Supervisor(
            str(pod),
            lambda: workload_command(container, pod, ports or free_ports(container.ports), around),
            cwd=working_folder(self._cwd, container.folder),
            log=self.log(f"{pod.namespace}.{pod.name}"),
            grace=workload.grace,
            settings=self._settings,
            on_event=self._on_event,
        )

    def dispatchers(self, workload: Workload, around: Surroundings, kafka: KafkaSettings | str) -> Dispatchers | None:
        """Its processes by the lag of its group, not yet started; None where nothing, or nobody, asks for that."""
        scaling = next((each for each in self._plan.scalings if each.workload == workload.name), None)
        if scaling is None or not self._settings.scale_dispatchers:
            return None
        return Dispatchers(
            scaling,
            lambda number: self.workload(workload, around, number),
            GroupLag(kafka, scaling.topic, scaling.group),
            self._clock,
            limit=self._settings.replica_limit,
        )

    def eventing(self, around: Surroundings) -> Supervisor | None:
        """The process that takes and delivers events, not yet started; None where no resource asks for it."""
        if not self.event_port:
            return None
        command = eventing_command(self._plan, around, self.event_port, self._home.eventing)
        return Supervisor(
            EVENTING,
            lambda: command,
            cwd=None,
            log=self.log(EVENTING),
            grace=self._settings.drain,
            settings=self._settings,
            on_event=self._on_event,
        )

    def _templates(self, service: Service, around: Surroundings, log: LogFile) -> Templates | None:
        name, subject = f"{service.name.name}-template", str(service.name)
        command = service_command(service, name, {port: port for port in service.container.ports}, around)
        if not self._settings.templates or not may_fork(command.argv):
            return None

        def note(line: str) -> None:
            self._on_event(TwinEvent("note", subject, detail=line))

        return Templates(lambda: Template(name, command, cwd=self._cwd, log=log, note=note))

    def _addresses_of_workloads(self) -> dict[Name, str]:
        """Those that Services lead to keep their ports over restarts: the containers' own, where those are free."""
        found = {}
        for workload in self._plan.workloads:
            if workload.addresses:
                ports = {port: usable_port(port) for port in workload.container.ports}
                self._ports[workload.name] = ports
                found.update({name: f"127.0.0.1:{ports[port]}" for name, port in workload.addresses})
        return found

    def _addresses_of_ingresses(self) -> dict[Name, str]:
        if not (self._plan.ingresses or self._plan.deliveries):
            return {}
        self.event_port = usable_port(0)
        return {
            BROKER_INGRESS: f"127.0.0.1:{self.event_port}/broker",
            SINK_INGRESS: f"127.0.0.1:{self.event_port}/sink",
        }
