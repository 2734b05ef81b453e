"""Whether a resource does what it is for, by its status: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from headrace.manifests.resource import Resource

WAITED = frozenset(
    {
        "Broker", "Deployment", "ExternalSecret", "InferenceService", "KafkaSink", "KafkaSource", "KafkaTopic",
        "KafkaUser", "ScaledObject", "Trigger",
    }
)  # fmt: skip
"""The kinds that a deploy waits for. Domains and certificates are not: they wait for others' DNS."""
_SEEN = frozenset({"Deployment", "KafkaTopic", "KafkaUser"})
"""Kinds whose controllers always say which generation they have seen, and so when their status is an old one."""
UNDATED = frozenset({"InferenceService", "ScaledObject"})
"""Kinds whose status does not say which generation it is of: KEDA writes none, and KServe writes that of the last
Knative Service that it looked at (kserve#6081), which has nothing to do with the InferenceService's own."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How a resource stands."""

    state: Literal["ready", "waiting", "troubled", "failed"]
    """``troubled`` may still pass by itself, ``failed`` does not."""
    reason: str = ""
    """In one line, as its controller says it."""


READY = Readiness("ready")
_UNPLACED = re.compile(r"\bUnschedulable\b|\b\d+/\d+ nodes are available")
"""A pod that no node can take: a node may be on its way, which takes minutes where it has GPUs."""


def readiness(resource: Resource | None) -> Readiness:
    """How a resource stands; None where it is not there."""
    if resource is None:
        return Readiness("waiting", "it is not there")
    if resource["metadata"].get("deletionTimestamp"):
        return Readiness("waiting", "it is being deleted")
    status: dict[str, Any] = resource.get("status") or {}
    generation = resource["metadata"].get("generation", 0)
    seen = status.get("observedGeneration", 0 if resource["kind"] in _SEEN else generation)
    if not status or (seen < generation and resource["kind"] not in UNDATED):
        return Readiness("waiting", "its controller has not looked at it yet")
    if resource["kind"] == "Deployment":
        return _deployment(resource, status)
    found = _by_conditions(status)
    return _by_revisions(status) if found == READY and resource["kind"] == "InferenceService" else found


def _by_revisions(status: dict[str, Any]) -> Readiness:
    """Ready, unless a revision was made that is not: the one before it answers meanwhile."""
    for name, part in sorted((status.get("components") or {}).items()):
        made, ready = part.get("latestCreatedRevision"), part.get("latestReadyRevision")
        if made and made != ready:
            return Readiness("waiting", f"revision {made} of the {name} is starting")
    return READY


def _by_conditions(status: dict[str, Any]) -> Readiness:
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    ready = next((each for each in conditions if each.get("type") == "Ready"), None)
    if ready is None:
        return Readiness("waiting", "its controller has said nothing yet")
    if ready.get("status") == "True":
        return READY
    # The deepest words: that of the condition which keeps Ready from being true.
    told = [ready, *(each for each in conditions if each.get("status") == ready.get("status"))]
    failure = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    words = [_words(each) for each in (*([failure] if failure.get("message") else []), *told)]
    reason = next((each for each in words if each), "it is not ready yet")
    unplaced = next((each for each in words if _UNPLACED.search(each)), "")
    if unplaced:
        return Readiness("waiting", unplaced)
    return Readiness("troubled" if ready.get("status") == "False" else "waiting", reason)


def _deployment(resource: Resource, status: dict[str, Any]) -> Readiness:
    wanted = resource["spec"].get("replicas", 1)
    conditions = {each.get("type"): each for each in status.get("conditions") or []}
    progressing, failing = conditions.get("Progressing", {}), conditions.get("ReplicaFailure", {})
    if progressing.get("status") == "False":
        return Readiness("failed", _words(progressing))
    if failing.get("status") == "True":
        return Readiness("troubled", _words(failing))
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return Readiness("waiting", f"{updated} of {wanted} replicas are new")
    if status.get("replicas", 0) > updated:
        return Readiness("waiting", f"{status['replicas'] - updated} old replicas are still ending")
    if available < wanted:
        return Readiness("waiting", f"{available} of {wanted} replicas are available")
    return READY


def _words(condition: dict[str, Any]) -> str:
    parts = (str(condition.get("reason") or ""), " ".join(str(condition.get("message") or "").split()))
    return ": ".join(filter(None, parts))[:500]
