"""Every concern of production in the order in which a cluster wants them, and what they add to the app's pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.concerns.access import access, account_additions, roles
from headrace.manifests.concerns.additions import add
from headrace.manifests.concerns.alerts import alerts
from headrace.manifests.concerns.bounds import bounds
from headrace.manifests.concerns.cluster_settings import cluster_settings
from headrace.manifests.concerns.cost import cost_additions, cost_labels
from headrace.manifests.concerns.dashboard import dashboard
from headrace.manifests.concerns.disruption import disruption, disruption_additions
from headrace.manifests.concerns.domain import CLUSTER_LOCAL, domain
from headrace.manifests.concerns.isolation import isolation, restricted_additions
from headrace.manifests.concerns.logs import log_additions
from headrace.manifests.concerns.mesh import mesh, sidecar_additions
from headrace.manifests.concerns.metrics import metric_additions, metrics
from headrace.manifests.concerns.network import network
from headrace.manifests.concerns.protection import protection
from headrace.manifests.concerns.quota import quota
from headrace.manifests.concerns.rollout import rollout_additions
from headrace.manifests.concerns.tracing import kserve_tracing, tracing, tracing_additions

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.concerns.additions import Addition
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

PRODUCTION: dict[str, Callable[[InferenceApp, RenderOptions], list[Resource]]] = {
    "isolation": isolation,
    "quota": quota,
    "access": access,
    "bounds": bounds,
    "network": network,
    "mesh": mesh,
    "domain": domain,
    "protection": protection,
    "disruption": disruption,
    "tracing": tracing,
    "cluster-settings": cluster_settings,
    "metrics": metrics,
    "alerts": alerts,
    "dashboard": dashboard,
}
"""Each off until its part of the spec is there. They stand before the app: what is needed, or guards, comes first."""

ADDITIONS: dict[str, Addition] = {
    "isolation": restricted_additions,
    "access": account_additions,
    "mesh": sidecar_additions,
    "tracing": tracing_additions,
    "metrics": metric_additions,
    "logging": log_additions,
    "rollout": rollout_additions,
    "disruption": disruption_additions,
    "cost": cost_additions,
}
"""What concerns add to pods, the first to speak being heard."""


def completed(app: InferenceApp, options: RenderOptions, resources: list[Resource]) -> list[Resource]:
    """The app's resources with what the concerns add to them; they are changed in place."""
    for role in roles(app):
        for addition in ADDITIONS.values():
            add(resources, role, addition(app, options, role), said=app.spec.config)
    own = [each for each in resources if each["metadata"]["labels"]["app.kubernetes.io/name"] == app.name]
    for each in own:
        for key, value in cost_labels(app).items():
            each["metadata"]["labels"].setdefault(key, value)
        if each["kind"] == "InferenceService":
            _complete_service(app, each)
    return resources


def _complete_service(app: InferenceApp, service: Resource) -> None:
    if app.spec.network or app.spec.mesh:
        # Not to be reached from outside but by the domain, where there is one.
        service["metadata"]["labels"].update(CLUSTER_LOCAL)
    if traced := kserve_tracing(app):
        service["spec"]["tracing"] = traced
