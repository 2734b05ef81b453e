"""Whether a node can take the pods that ask for GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.manifests.cluster.api import ClusterApi, Discovery
    from headrace.manifests.cluster.plan import Plan
    from headrace.manifests.resource import Resource

_ROLES = ("predictor", "transformer")
_GROWING = frozenset({"karpenter.sh", "cluster.x-k8s.io"})
"""API groups of what adds nodes when pods need them."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one kind of pod asks of its node."""

    pod: str
    resources: dict[str, int]
    """Devices by their name, such as ``nvidia.com/gpu``."""
    selector: dict[str, str]
    tolerations: tuple[dict[str, str], ...]


def needs(plan: Plan) -> list[Need]:
    """Of every pod that asks for a device."""
    services = [each for each in plan.resources if each["kind"] == "InferenceService"]
    return [need for each in services for need in _of_service(each)]


def _of_service(service: Resource) -> Iterator[Need]:
    about = service["metadata"]
    for role in _ROLES:
        pod = service["spec"].get(role)
        if not pod:
            continue
        resources: dict[str, int] = {}
        for container in pod.get("containers") or []:
            for name, count in ((container.get("resources") or {}).get("limits") or {}).items():
                if "/" in name:
                    resources[name] = resources.get(name, 0) + int(count)
        if resources:
            name = f"{about['namespace']}/{about['name']} {role}"
            yield Need(name, resources, pod.get("nodeSelector") or {}, tuple(pod.get("tolerations") or ()))


async def gpus(api: ClusterApi, plan: Plan, found: Discovery) -> list[Finding]:
    """An error for each pod that no node can take; a warning where nodes may be added by themselves."""
    wanted = needs(plan)
    if not wanted:
        return []
    nodes = (await api.find(Query("v1", "Node"))).items
    grows = bool(_GROWING & found.groups.keys()) or await _autoscaled(api)
    return [_judged(need, nodes, grows=grows) for need in wanted]


async def _autoscaled(api: ClusterApi) -> bool:
    """Whether the cluster autoscaler runs: it writes its state there."""
    return (await api.find(Query("v1", "ConfigMap", "kube-system", "cluster-autoscaler-status"))).first is not None


def _judged(need: Need, nodes: Iterable[Resource], *, grows: bool) -> Finding:
    asked = ", ".join(f"{count} {name}" for name, count in need.resources.items())
    reasons = {node["metadata"]["name"]: misfit(need, node) for node in nodes}
    fitting = [name for name, why in reasons.items() if not why]
    if fitting:
        return Finding("ok", "gpus", f"{need.pod}: {asked} fit on {len(fitting)} of {len(reasons)} nodes")
    # The nodes that have devices tell more than those that have none.
    near = {name: why for name, why in reasons.items() if not why.startswith("no ")}
    why = "; ".join(f"{name} {reason}" for name, reason in sorted(near.items())[:3]) or "no node has any"
    message = f"{need.pod} asks for {asked}, and no node can take it: {why}"
    if grows:
        fix = (
            "nodes are added by an autoscaler here: is one of its groups right? With pod-is-always-schedulable: "
            '"true" in config-deployment Knative does not call the wait for it a failure'
        )
        return Finding("warning", "gpus", message, fix)
    fix = (
        "change spec.predictor.nodes (selector, tolerations) or its resources"
        if near
        else "add nodes with such devices, and their device plugin (of NVIDIA's, the GPU operator)"
    )
    return Finding("error", "gpus", message, fix)


def misfit(need: Need, node: Resource) -> str:
    """Why the pod cannot run on a node, whatever else runs there; empty where it can."""
    has: dict[str, Any] = (node.get("status") or {}).get("allocatable") or {}
    spec = node.get("spec") or {}
    for name, count in need.resources.items():
        if not int(has.get(name, 0)):
            return f"no {name}"
        if int(has[name]) < count:
            return f"has {has[name]} {name}"
    labels = node["metadata"].get("labels") or {}
    for name, value in need.selector.items():
        if labels.get(name) != value:
            return f"is not {name}={value}"
    for taint in spec.get("taints") or []:
        if taint.get("effect") != "PreferNoSchedule" and not any(_tolerates(each, taint) for each in need.tolerations):
            return f"is tainted {taint['key']}:{taint.get('effect', '')}"
    return "is cordoned" if spec.get("unschedulable") else ""


def _tolerates(toleration: dict[str, str], taint: dict[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
