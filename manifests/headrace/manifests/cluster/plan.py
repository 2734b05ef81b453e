"""What is to be in the cluster, and in which order: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.concerns.shared import OWNER
from headrace.manifests.rendering import render_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

NAME = "app.kubernetes.io/name"
MANAGED = "app.kubernetes.io/managed-by"

STAGES: tuple[frozenset[str], ...] = (
    frozenset({"Namespace"}),
    frozenset(
        {
            "ClusterDomainClaim", "ClusterRole", "ClusterRoleBinding", "LimitRange", "PriorityClass", "ResourceQuota",
            "Role", "RoleBinding", "ServiceAccount",
        }
    ),
    frozenset({"ConfigMap", "ExternalSecret", "LocalModelCache", "PersistentVolumeClaim", "TriggerAuthentication"}),
    frozenset({"KafkaTopic", "KafkaUser"}),
    frozenset(
        {
            "AuthorizationPolicy", "DestinationRule", "EnvoyFilter", "NetworkPolicy", "PeerAuthentication",
            "PodDisruptionBudget", "RequestAuthentication", "Telemetry", "WasmPlugin",
        }
    ),
)  # fmt: skip
"""Namespace, rights and bounds, configuration, topics, policies; then all other kinds, and what brings events last."""
_DELIVERY: tuple[frozenset[str], ...] = (
    frozenset({"Broker", "KafkaSink", "KafkaSource", "Trigger"}),
    # Scales the dispatcher, so that comes first.
    frozenset({"ScaledObject"}),
)
KEPT = frozenset({"KafkaTopic", "Namespace"})
"""What is never pruned: they hold more than Headrace put there. Topics go with ``headrace delete --topics`` alone."""


@dataclass(frozen=True, slots=True)
class AppPlan:
    """What one app is to have."""

    name: str
    namespace: str
    resources: tuple[Resource, ...]

    @property
    def identities(self) -> frozenset[tuple[str, str, str, str]]:
        """Of its resources."""
        return frozenset(Reference.of(each).identity for each in self.resources)


@dataclass(frozen=True, slots=True)
class Plan:
    """What several apps are to have."""

    apps: tuple[AppPlan, ...]
    shared: tuple[Resource, ...] = ()
    """What belongs to no single app, such as namespaces with their quotas: applied, and never pruned or deleted."""

    @property
    def resources(self) -> tuple[Resource, ...]:
        """All of them."""
        return (*self.shared, *(resource for app in self.apps for resource in app.resources))

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces that the plan makes itself."""
        return frozenset(each["metadata"]["name"] for each in self.resources if each["kind"] == "Namespace")


def plan_of(apps: Sequence[InferenceApp], options: RenderOptions) -> Plan:
    """The rendered manifests of apps, each by the app that it belongs to.

    Raises:
        ConfigurationError: an app has the name under which the shared resources are kept.
    """
    if any(app.name == OWNER for app in apps):
        raise ConfigurationError(
            f"An app called {OWNER} cannot be told from what all apps share", hint="give it another metadata.name"
        )
    resources = render_all(apps, options)
    by_name = {app.name: app for app in apps}
    mine = {name: tuple(each for each in resources if owner_of(each) == name) for name in by_name}
    shared = tuple(each for each in resources if owner_of(each) not in by_name)
    return Plan(tuple(AppPlan(app.name, app.namespace, mine[name]) for name, app in by_name.items()), shared)


def owner_of(resource: Resource) -> str:
    """The app that a resource says it belongs to; empty where Headrace did not make it."""
    labels = resource["metadata"].get("labels") or {}
    return str(labels.get(NAME, "")) if labels.get(MANAGED) == OWNER else ""


def stages(resources: Iterable[Resource]) -> list[list[Resource]]:
    """The resources in the order in which they are applied: those of one list may be applied at once."""
    found: dict[int, list[Resource]] = {}
    for each in resources:
        dispatcher = each["kind"] == "Deployment" and each["metadata"].get("labels", {}).get(_COMPONENT) == "dispatcher"
        found.setdefault(_LAST if dispatcher else stage_of(each["kind"]), []).append(each)
    return [found[number] for number in sorted(found)]


_COMPONENT = "app.kubernetes.io/component"
_LAST = len(STAGES) + 1


def stage_of(kind: str) -> int:
    """The stage's number; kinds that no stage names come after all that others need."""
    for number, kinds in enumerate(STAGES):
        if kind in kinds:
            return number
    for number, kinds in enumerate(_DELIVERY):
        if kind in kinds:
            return _LAST + number
    return len(STAGES)
