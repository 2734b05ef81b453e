"""What is gathered while manifests are read: what runs, where addresses lead, and what is said about the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.local.scale import Defaults

if TYPE_CHECKING:
    from headrace.local.place import Place
    from headrace.local.resources import Delivery, EventIngress, LagScaling, Name, Route, Service, Topic, Workload

    Files = dict[Name, dict[str, bytes]]


@dataclass(slots=True)
class Reading:
    """Everything read so far; faults stand in the places themselves."""

    services: list[Service] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    workloads: list[Workload] = field(default_factory=list)
    topics: list[Topic] = field(default_factory=list)
    ingresses: list[EventIngress] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    config_maps: Files = field(default_factory=dict)
    secrets: Files = field(default_factory=dict)
    folders: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files that containers mount, by their folder below the run directory's."""
    skipped: list[str] = field(default_factory=list)
    """What does not run here, each with the reason."""
    ignored: list[str] = field(default_factory=list)
    """Fields that do nothing here, each with what is done instead."""
    defaults: Defaults = field(default_factory=Defaults)
    collectors: set[str] = field(default_factory=set)
    """Addresses, ``http://NAME.NAMESPACE.svc.``, of the collectors that do not run here."""
    scalings: list[LagScaling] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    """What SinkBindings give to others."""
    pods: dict[Name, dict[str, str]] = field(default_factory=dict)
    """The labels of each Deployment's pods, for Services that select them."""
    revisions: dict[Name, list[Service]] = field(default_factory=dict)
    """Of each Knative Service, in the order in which they were applied."""
    traffic: dict[Name, tuple[Place, float]] = field(default_factory=dict)
    """The latest specification of each Knative Service, and how long a roll-out takes."""
    wanted_topics: list[Topic] = field(default_factory=list)
    """Topics that Brokers, sinks and sources need, where no KafkaTopic declares them."""
    brokers: dict[Name, Place] = field(default_factory=dict)
    """How each Broker delivers, unless a Trigger says otherwise."""
    triggers: list[tuple[Name, Place]] = field(default_factory=list)
    wanted_destinations: list[tuple[Place, str, Name]] = field(default_factory=list)
    """Kinds and names that events are to go to; looked for when everything is read."""
    selectors: list[tuple[Name, Place]] = field(default_factory=list)
    """Kubernetes Services, resolved when all Deployments are known."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Variables that a SinkBinding puts into the containers of somebody else."""

    place: Place
    kind: str
    name: Name
    labels: dict[str, str]
    """Of the subject, where it has no name."""
    variables: dict[str, str]
