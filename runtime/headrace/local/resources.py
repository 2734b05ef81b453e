"""What runs here, as values: services (processes behind the activator) and workloads (processes that are always up)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.containers import Container
    from headrace.local.lag import LagRule


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
    initial: int = 0
    """Replicas before the first request. Knative begins with one; the twin with none, unless annotated."""
    activation: int = 1
    """Replicas at least, as soon as there is one."""
    metric: Literal["concurrency", "rps"] = "concurrency"
    """What is counted: requests at a time, or requests that come in a second."""
    target: float = 70.0
    """Of the metric a replica, that the autoscaler aims at; utilisation already counted in."""
    total: float = 100.0
    """Of the metric, that a replica is meant to hold."""
    concurrency: int = 0
    """Most requests at one replica at a time; 0 is without bound."""
    burst: float = 211.0
    """Requests that the replicas shall be able to take on top without the activator; -1 keeps that in the path."""
    window: float = 60.0
    """The stable window, over which the metric is averaged."""
    panic_window: float = 6.0
    """The short window, which tells a burst."""
    panic_threshold: float = 200.0
    """Per cent of the ready replicas that the short window must want for a panic."""
    up_rate: float = 1000.0
    """Most replicas after a decision, as a multiple of the ready ones."""
    down_rate: float = 2.0
    """Least replicas after a decision, as a fraction of the ready ones."""
    delay: float = 0.0
    """How long fewer replicas must be wanted before they are fewer."""
    retention: float = 0.0
    """Least time of the last replica after the service became inactive."""
    grace: float = 30.0
    """Least time of the activator in the path before the last replica goes."""
    to_zero: bool = True
    weighted: bool = False
    """Whether later seconds of a window weigh more."""
    idle: float | None = None
    """Headrace's own: without a request for so long the last replica goes; None leaves that to Knative's rules."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a request may take, in seconds, from its arrival (Knative's three timeouts of a revision)."""

    total: float = 300.0
    """Until its last byte."""
    start: float = 300.0
    """Until the first byte of its answer, a wait for a replica included."""
    idle: float = 0.0
    """Without a byte from the replica; 0 is without bound."""


@dataclass(frozen=True, slots=True)
class Service:
    """One revision: a component of an InferenceService, or what a Knative Service's template says."""

    name: Name
    """Unique; the Knative Service's own where it has one revision."""
    app: str
    """The InferenceService's, or the Knative Service's, name."""
    role: str
    """``predictor``, ``transformer``, or ``service`` for a Knative Service."""
    container: Container
    scale: Scale
    limits: Limits
    deadline: float | None
    """Seconds that a replica may take to become ready; None is the twin's setting."""
    knative: str = ""
    """The Knative Service's name, where that is not this one's."""
    revision_name: str = ""
    """The revision's name; empty for Knative's first."""
    beside: tuple[Container, ...] = ()
    """The other containers of its pod: they start and end with it, and share its ports."""

    def renamed(self, name: Name) -> Service:
        """The same under another name."""
        return replace(self, name=name)

    @property
    def revision(self) -> str:
        """The revision's name."""
        return self.revision_name or f"{self.knative_name}-00001"

    @property
    def knative_name(self) -> str:
        """The name of the Knative Service that this is a revision of."""
        return self.knative or self.name.name


@dataclass(frozen=True, slots=True)
class Share:
    """What part of a route's requests a revision gets."""

    revision: Name
    percent: int = 100
    before: Name | None = None
    """The revision that this one takes over from, while it is rolled out."""


@dataclass(frozen=True, slots=True)
class Route:
    """An address, and the revisions behind it."""

    names: tuple[Name, ...]
    """Every name of it, its own first."""
    shares: tuple[Share, ...]
    rollout: float = 0.0
    """Seconds in which a new revision takes over (``rollout-duration``)."""

    def leads_to(self, revision: Name) -> bool:
        """Whether requests get there."""
        return any(revision in (share.revision, share.before) for share in self.shares)


@dataclass(frozen=True, slots=True)
class Workload:
    """One container of a Deployment, or of a source."""

    name: Name
    container: Container
    grace: float
    """Seconds between SIGTERM and SIGKILL."""
    owner: Name = Name("", "")
    """The Deployment."""
    addresses: tuple[tuple[Name, int], ...] = ()
    """The Services that lead to it, each with the container's port."""


@dataclass(frozen=True, slots=True)
class LagScaling:
    """How KEDA scales a Deployment by the lag of its consumer group."""

    workload: Name
    topic: str
    group: str
    rule: LagRule
    polling: float = 30.0
    """Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class EventIngress:
    """Where events are posted for a topic: a Broker or a KafkaSink."""

    kind: Literal["broker", "sink"]
    name: Name
    topic: str
    structured: bool = False
    """Whether records hold the whole event as JSON (``contentMode: structured``)."""

    @property
    def path(self) -> str:
        """At the event ingress."""
        return f"/{self.kind}/{self.name.namespace}/{self.name.name}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """From a topic to a subscriber: a Trigger or a KafkaSource; times in seconds."""

    name: Name
    kind: Literal["trigger", "source"]
    topic: str
    group: str
    url: str
    """Of the subscriber, as inside a cluster."""
    dead_letters: str
    """Topic of events that were given up."""
    replies: str = ""
    """Topic that replies go to; empty where they are dropped."""
    ordered: bool = False
    filters: tuple[Mapping[str, Any], ...] = ()
    attempts: int = 1
    backoff: Literal["linear", "exponential"] = "exponential"
    delay: float = 0.2
    timeout: float = 600.0
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Put into every event (``ceOverrides``)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a set of manifests means on this machine."""

    services: tuple[Service, ...]
    routes: tuple[Route, ...]
    workloads: tuple[Workload, ...]
    topics: tuple[Topic, ...]
    folders: Mapping[str, Mapping[str, bytes]]
    """Files that containers mount, by their folder below the run directory's."""
    ingresses: tuple[EventIngress, ...]
    deliveries: tuple[Delivery, ...]
    scalings: tuple[LagScaling, ...]
    """How many processes of a Deployment there are, where the twin is told to go by that."""
    skipped: tuple[str, ...]
    """What does not run here, each with the reason."""
    ignored: tuple[str, ...]
    """Fields that do nothing here, each with what is done instead."""

    @property
    def pods(self) -> tuple[tuple[Name, Container], ...]:
        """Everything that is run, with its owner's name."""
        services = ((service.name, each) for service in self.services for each in (service.container, *service.beside))
        return (*services, *((workload.name, workload.container) for workload in self.workloads))
