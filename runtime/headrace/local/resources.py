"""What runs here, as values: services (processes behind the activator) and workloads (processes that are always up)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.containers import Container


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A namespaced name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic that the app needs (``KafkaTopic`` of Strimzi)."""

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scale:
    """How many replicas a service has (KServe's fields and Knative's annotations); times in seconds."""

    minimum: int = 0
    maximum: int = 0
    """0 is without bound."""
    target: float = 70.0
    """Requests in flight a replica that the autoscaler aims at, utilisation already counted in."""
    concurrency: int = 0
    """Most requests at one replica at a time; 0 is without bound."""
    window: float = 60.0
    """Over which concurrency is averaged."""
    idle: float = 60.0
    """Without a request before the last replica goes."""


@dataclass(frozen=True, slots=True)
class Service:
    """One component of an InferenceService."""

    name: Name
    app: str
    """The InferenceService's name."""
    role: str
    """``predictor`` or ``transformer``."""
    outermost: bool
    """Whether the InferenceService's own address leads here."""
    container: Container
    scale: Scale
    timeout: float
    """Seconds that one request may take at a replica."""
    deadline: float | None
    """Seconds that a replica may take to become ready; None is the twin's setting."""

    @property
    def names(self) -> tuple[Name, ...]:
        """Every name of it, its own first."""
        return (self.name, Name(self.name.namespace, self.app)) if self.outermost else (self.name,)


@dataclass(frozen=True, slots=True)
class Workload:
    """One container of a Deployment."""

    name: Name
    container: Container
    grace: float
    """Seconds between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a set of manifests means on this machine."""

    services: tuple[Service, ...]
    workloads: tuple[Workload, ...]
    topics: tuple[Topic, ...]
    config_maps: Mapping[Name, Mapping[str, bytes]]
    """The files of each ConfigMap."""
    skipped: tuple[str, ...]
    """What does not run here, each with the reason."""

    @property
    def pods(self) -> tuple[tuple[Name, Container], ...]:
        """Everything that is run, with its owner's name."""
        services = ((service.name, service.container) for service in self.services)
        return (*services, *((workload.name, workload.container) for workload in self.workloads))
