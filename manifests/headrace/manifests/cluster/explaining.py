"""Why something does not become ready: what its pods and the cluster's events say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.errors import UnavailableError
from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.reference import Reference
    from headrace.manifests.resource import Resource

_MOST = 5
_NORMAL = frozenset({"", "ContainerCreating", "PodInitializing", "Completed"})
"""Reasons of containers that are on their way."""


async def explain(api: ClusterApi, reference: Reference) -> list[str]:
    """One line a reason, at most five; none where there is none or they may not be read."""
    try:
        pods = await _pods(api, reference)
        events = (await api.find(Query("v1", "Event", reference.namespace))).items if reference.namespace else ()
    except (RefusedError, UnavailableError):
        return []
    names = {reference.name, *(each["metadata"]["name"] for each in pods)}
    found = [line for each in pods for line in _of_pod(each)]
    found += [_of_event(each) for each in sorted(events, key=_time) if _warns(each, names, reference)][-_MOST:]
    return list(dict.fromkeys(found))[:_MOST]


async def _pods(api: ClusterApi, reference: Reference) -> tuple[Resource, ...]:
    labels: dict[str, str] = {}
    if reference.kind == "InferenceService":
        labels = {"serving.kserve.io/inferenceservice": reference.name}
    elif reference.kind == "Deployment":
        live = (await api.find(Query.of(reference))).first or {}
        labels = ((live.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return (await api.find(Query("v1", "Pod", reference.namespace, labels=labels))).items if labels else ()


def _of_pod(pod: Resource) -> Iterator[str]:
    status: dict[str, Any] = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield f"pod {name}: {_joined(condition)}"
    for container in (*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])):
        waiting = (container.get("state") or {}).get("waiting") or {}
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason", "") not in _NORMAL:
            yield f"pod {name}, container {container['name']}: {_joined(waiting)}"
        if ended.get("exitCode"):
            yield f"pod {name}, container {container['name']} ended with {ended['exitCode']}: {_joined(ended)}"


def _of_event(event: Resource) -> str:
    about = event.get("involvedObject") or {}
    return f"{about.get('kind', '')} {about.get('name', '')}: {_joined(event)}"


def _warns(event: Resource, names: set[str], reference: Reference) -> bool:
    """Whether it is a warning about the resource, or about something made for it."""
    about = str((event.get("involvedObject") or {}).get("name", ""))
    return event.get("type") == "Warning" and (about in names or about.startswith(f"{reference.name}-"))


def _time(event: Resource) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _joined(words: dict[str, Any]) -> str:
    parts = (words.get("reason"), words.get("message"))
    return " ".join(": ".join(str(each) for each in parts if each).split())[:300]
