"""What a namespace may use: a ``ResourceQuota`` of what its apps may grow to, and defaults for what states nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns.isolation import owns_namespace
from headrace.manifests.concerns.shared import shared_metadata
from headrace.manifests.concerns.tracing import tracing
from headrace.manifests.dispatcher import dispatcher
from headrace.manifests.inferenceservice import inference_service
from headrace.manifests.quantity import parse_bytes, parse_cpu
from headrace.manifests.resource import Resource, resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

    Amounts = defaultdict[str, float]

NAME = "headrace"
SIDECARS = {"cpu": 0.2, "memory": 256 << 20}
"""Cores and bytes a pod for what is put into it: Knative's queue-proxy, Istio's sidecar."""
_MEMORY = ("requests.memory", "limits.memory")


def quota(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """ResourceQuota and LimitRange of the app's namespace; of several apps in one file the quotas are added up."""
    part = app.spec.quota
    if part is None or not owns_namespace(app):
        return []
    hard = _written(_hard(app, options))
    about = shared_metadata(NAME, "quota", namespace=app.namespace)
    return [resource("v1", "ResourceQuota", about, spec={"hard": hard}), _limits(app)]


def added(one: Resource, other: Resource) -> Resource:
    """The quota of two apps that share a namespace."""
    total: Amounts = defaultdict(float)
    for each in (one, other):
        for name, amount in _read(each["spec"]["hard"]).items():
            total[name] += amount
    return {**one, "spec": {"hard": _written(total)}}


def _limits(app: InferenceApp) -> Resource:
    """A quota on memory refuses a container that states none; this states some for it."""
    limits = {
        "type": "Container",
        "default": {"memory": "1Gi"},
        "defaultRequest": {"cpu": "25m", "memory": "64Mi"},
    }
    about = shared_metadata(NAME, "quota", namespace=app.namespace)
    return resource("v1", "LimitRange", about, spec={"limits": [limits]})


def _hard(app: InferenceApp, options: RenderOptions) -> dict[str, float]:
    part = app.spec.quota
    assert part is not None
    total: Amounts = defaultdict(float)
    for pod, most in _pods(app, options):
        for name, amount in _wanted(pod).items():
            total[name] += amount * most
    hard: dict[str, float] = {name: math.ceil(amount * part.headroom) for name, amount in total.items()}
    if part.cpu is not None:
        hard["requests.cpu"] = math.ceil(part.cpu)
    if part.memory is not None:
        hard |= dict.fromkeys(_MEMORY, part.memory)
    if part.gpu is not None:
        hard[f"requests.{app.spec.predictor.resources.gpu_resource}"] = part.gpu
    return hard


def _pods(app: InferenceApp, options: RenderOptions) -> Iterable[tuple[dict[str, Any], int]]:
    """Every kind of pod of the app, with the most of it that may run."""
    for each in inference_service(app, options):
        for role in ("predictor", "transformer"):
            if role in each["spec"]:
                yield each["spec"][role], each["spec"][role]["maxReplicas"]
    for each in dispatcher(app, options):
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"], app.spec.trigger.partitions
    for each in tracing(app, options):
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"], each["spec"]["replicas"]


def _wanted(pod: dict[str, Any]) -> dict[str, float]:
    """What one pod counts for: cores, bytes and whole devices by name."""
    total: Amounts = defaultdict(float, {"pods": 1, "requests.cpu": SIDECARS["cpu"]})
    total.update(dict.fromkeys(_MEMORY, SIDECARS["memory"]))
    for container in pod["containers"]:
        wanted = container.get("resources", {})
        amounts = {**wanted.get("limits", {}), **wanted.get("requests", {})}
        total["requests.cpu"] += parse_cpu(amounts.pop("cpu", "1m"))
        requested = amounts.pop("memory", "1Mi")
        total["requests.memory"] += parse_bytes(requested)
        total["limits.memory"] += parse_bytes(wanted.get("limits", {}).get("memory", requested))
        for device, count in amounts.items():
            # Devices can only be bounded by what is requested.
            total[f"requests.{device}"] += int(count)
    return dict(total)


def _read(hard: dict[str, str]) -> dict[str, float]:
    return {name: parse_bytes(value) if name in _MEMORY else int(value) for name, value in hard.items()}


def _written(hard: dict[str, float]) -> dict[str, str]:
    """Whole cores, whole mebibytes, whole pods and devices, in a fixed order."""
    return {
        name: f"{math.ceil(hard[name] / (1 << 20))}Mi" if name in _MEMORY else str(math.ceil(hard[name]))
        for name in sorted(hard)
    }
