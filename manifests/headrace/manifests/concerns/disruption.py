"""What stays up while nodes are drained or full: budgets, priority, spread over zones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns.additions import NOTHING, PodAdditions
from headrace.manifests.concerns.places import DISPATCHER, model_roles, pod_roles, pods
from headrace.manifests.concerns.shared import cluster_metadata
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

_SPREAD = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


def disruption(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """PriorityClass, and a PodDisruptionBudget for each role that may have several pods.

    One pod at a time: a budget of `minAvailable: 1` would keep a lone pod, and with it its node, from ever going.
    """
    if app.spec.disruption is None:
        return []
    priority = resource(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        cluster_metadata(app, _class(app), "disruption"),
        value=app.spec.disruption.priority,
        preemptionPolicy="Never",
        globalDefault=False,
        description=f"Pods of {app.namespace}/{app.name}",
    )
    return [priority, *(_budget(app, role) for role in pod_roles(app) if _most(app, role) > 1)]


def disruption_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """Priority and spread for the dispatcher; for predictor and transformer where the app says Knative allows it."""
    part = app.spec.disruption
    if part is None or (role != DISPATCHER and not (part.models and role in model_roles(app))):
        return NOTHING
    spread: list[dict[str, Any]] = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            # A pod in a crowded zone is better than none.
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": pods(app, role)},
        }
        for key in _SPREAD
    ]
    return PodAdditions(spec={"priorityClassName": _class(app), "topologySpreadConstraints": spread})


def _class(app: InferenceApp) -> str:
    return f"headrace-{app.namespace}-{app.name}"


def _most(app: InferenceApp, role: str) -> int:
    """How many pods of a role there may be."""
    if role == DISPATCHER:
        return app.spec.trigger.partitions
    part = app.spec.transformer if role == "transformer" and app.spec.transformer else app.spec.predictor
    return part.scale.max


def _budget(app: InferenceApp, role: str) -> Resource:
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": pods(app, role)},
        # A pod that does not work protects nobody: it must not hold up a drain.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return resource("policy/v1", "PodDisruptionBudget", metadata(app, f"{app.name}-{role}", role), spec=spec)
