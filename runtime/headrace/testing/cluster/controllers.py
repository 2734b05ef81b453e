"""Scripts in place of a cluster's operators: they set the status of what is applied."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.manifests.resource import Resource
    from headrace.testing.cluster.store import ClusterStore

_CONDITION_KINDS = frozenset(
    {
        "Broker", "DomainMapping", "ExternalSecret", "InferenceService", "Kafka", "KafkaSink", "KafkaSource",
        "KafkaTopic", "KafkaUser", "ScaledObject", "Trigger",
    }
)  # fmt: skip


class Controllers:
    """Makes what is applied ready, after a while, or fail.

    Args:
        store: The cluster.
        delay: Seconds until a change has taken effect.
    """

    def __init__(self, store: ClusterStore, *, delay: float = 0.0) -> None:
        self._store = store
        self._delay = delay
        self._failing: dict[tuple[str, str], tuple[str, str]] = {}
        self._idle: set[str] = set()
        store.listeners.append(self._seen)

    def fail(self, kind: str, name: str, *, reason: str, message: str) -> None:
        """From now on this resource does not become ready, for this reason."""
        self._failing[kind, name] = (reason, message)

    def heal(self, kind: str, name: str) -> None:
        """From its next change on it becomes ready again."""
        self._failing.pop((kind, name), None)

    def ignore(self, kind: str) -> None:
        """Nobody looks at this kind: it never has a status, as while its operator is down."""
        self._idle.add(kind)

    def _seen(self, resource: Resource) -> None:
        kind = resource["kind"]
        if kind in self._idle or kind not in {*_CONDITION_KINDS, "Deployment"}:
            return
        about = resource["metadata"]
        words = (kind, about["name"], about.get("namespace", ""), about["generation"])
        try:
            asyncio.get_running_loop().call_later(self._delay, self._settle, *words)
        except RuntimeError:
            # No loop runs: a test is setting the scene.
            self._settle(*words)

    def _settle(self, kind: str, name: str, namespace: str, generation: int) -> None:
        live = self._store.get(kind, name, namespace)
        if live is None or live["metadata"]["generation"] != generation:
            return
        failing = self._failing.get((kind, name))
        status = _deployment(live, failing) if kind == "Deployment" else _conditions(failing)
        if kind == "InferenceService" and not failing:
            status["url"] = f"http://{name}.{namespace}.example.com"
        # KServe writes the generation of a Knative Service of its own there, which stays behind (kserve#6081).
        seen = 1 if kind == "InferenceService" else generation
        self._store.set_status(kind, name, namespace, observedGeneration=seen, **status)


def _conditions(failing: tuple[str, str] | None) -> dict[str, Any]:
    if failing:
        return {"conditions": [{"type": "Ready", "status": "False", "reason": failing[0], "message": failing[1]}]}
    return {"conditions": [{"type": "Ready", "status": "True"}]}


def _deployment(live: Resource, failing: tuple[str, str] | None) -> dict[str, Any]:
    wanted = live["spec"].get("replicas", 1)
    if failing:
        condition = {"type": "Progressing", "status": "False", "reason": failing[0], "message": failing[1]}
        return {"replicas": wanted, "updatedReplicas": wanted, "unavailableReplicas": wanted, "conditions": [condition]}
    return {
        "replicas": wanted,
        "updatedReplicas": wanted,
        "availableReplicas": wanted,
        "conditions": [{"type": "Available", "status": "True"}],
    }
