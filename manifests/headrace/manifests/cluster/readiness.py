"""Whether a resource does what it is for, by its status: pure."""

from __future__ import annotations

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
_SEEN = frozenset({"Deployment", "InferenceService", "KafkaTopic", "KafkaUser"})
"""Kinds whose controllers say which generation they have seen, and so when their status is an old one."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How a resource stands."""

    state: Literal["ready", "waiting", "troubled", "failed"]
    """``troubled`` may still pass by itself, ``failed`` does not."""
    reason: str = ""
    """In one line, as its controller says it."""


READY = Readiness("ready")


def readiness(resource: Resource | None) -> Readiness:
    """How a resource stands; None where it is not there."""
    if resource is None:
        return Readiness("waiting", "it is not there")
    if resource["metadata"].get("deletionTimestamp"):
        return Readiness("waiting", "it is being deleted")
    status: dict[str, Any] = resource.get("status") or {}
    generation = resource["metadata"].get("generation", 0)
    seen = status.get("observedGeneration", 0 if resource["kind"] in _SEEN else generation)
    if not status or seen < generation:
        return Readiness("waiting", "its controller has not looked at it yet")
    if resource["kind"] == "Deployment":
        return _deployment(resource, status)
    return _by_conditions(status)


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
