"""Whether a resource works, by its status."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.manifests.cluster.readiness import readiness


def resource(kind: str, status: dict[str, Any] | None, *, generation: int = 1, **spec: Any) -> dict[str, Any]:
    """A resource with a status."""
    about = {"name": "x", "generation": generation}
    found: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": about, "spec": spec}
    return found if status is None else {**found, "status": status}


def ready(status: str, reason: str = "", message: str = "", kind: str = "Ready") -> dict[str, str]:
    """A condition."""
    return {"type": kind, "status": status, "reason": reason, "message": message}


NEW = {"observedGeneration": 1}
CASES = [
    (resource("InferenceService", None), "waiting", "not looked at it"),
    (resource("InferenceService", {**NEW, "conditions": [ready("True")]}), "ready", ""),
    (resource("InferenceService", {**NEW, "conditions": [ready("True")]}, generation=2), "ready", ""),
    (
        resource(
            "InferenceService",
            {
                "conditions": [ready("True")],
                "components": {
                    "predictor": {"latestCreatedRevision": "p-00002", "latestReadyRevision": "p-00001"},
                    "transformer": {"latestCreatedRevision": "t-00001", "latestReadyRevision": "t-00001"},
                },
            },
        ),
        "waiting",
        "revision p-00002 of the predictor is starting",
    ),
    (resource("KafkaTopic", {**NEW, "conditions": [ready("True")]}, generation=2), "waiting", "not looked"),
    (resource("KafkaTopic", {"conditions": [ready("True")]}), "waiting", "not looked"),
    (resource("InferenceService", {**NEW, "conditions": [ready("Unknown", "Deploying")]}), "waiting", "Deploying"),
    (resource("InferenceService", {**NEW, "conditions": []}), "waiting", "said nothing"),
    (
        resource(
            "InferenceService",
            {**NEW, "conditions": [ready("False"), ready("False", "RevisionFailed", "no image", "PredictorReady")]},
        ),
        "troubled",
        "RevisionFailed: no image",
    ),
    (
        resource(
            "InferenceService",
            {
                **NEW,
                "conditions": [ready("False", "Outer")],
                "modelStatus": {"lastFailureInfo": {"reason": "ModelLoadFailed", "message": "no\nweights"}},
            },
        ),
        "troubled",
        "ModelLoadFailed: no weights",
    ),
    (
        resource(
            "InferenceService",
            {
                "conditions": [
                    ready("False", "PredictorReady"),
                    ready("False", "RevisionFailed", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
                ]
            },
        ),
        "waiting",
        "Insufficient nvidia.com/gpu",
    ),
    (resource("ScaledObject", {"conditions": [ready("True")]}), "ready", ""),
    (resource("KafkaTopic", {**NEW, "conditions": [ready("False", "Bad", "config")]}), "troubled", "Bad: config"),
    (resource("Deployment", {**NEW, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}), "ready", ""),
    (resource("Deployment", {**NEW}, replicas=0), "ready", ""),
    (resource("Deployment", {**NEW, "replicas": 2, "updatedReplicas": 1}, replicas=2), "waiting", "1 of 2 replicas"),
    (
        resource("Deployment", {**NEW, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}),
        "waiting",
        "1 old replicas",
    ),
    (resource("Deployment", {**NEW, "replicas": 1, "updatedReplicas": 1}), "waiting", "0 of 1 replicas are available"),
    (
        resource("Deployment", {**NEW, "conditions": [ready("False", "ProgressDeadlineExceeded", "", "Progressing")]}),
        "failed",
        "ProgressDeadlineExceeded",
    ),
    (
        resource("Deployment", {**NEW, "conditions": [ready("True", "FailedCreate", "quota", "ReplicaFailure")]}),
        "troubled",
        "FailedCreate: quota",
    ),
]


@pytest.mark.parametrize(("live", "state", "reason"), CASES)
def test_a_status_is_read(live: dict[str, Any], state: str, reason: str) -> None:
    """A status of an older generation says nothing; the deepest reason is told, in one line."""
    found = readiness(live)
    assert found.state == state
    assert reason in found.reason
    assert "\n" not in found.reason


def test_what_is_not_there_or_on_its_way_out_is_not_ready() -> None:
    """Whatever its last status was."""
    assert readiness(None).state == "waiting"
    live = resource("ScaledObject", {"conditions": [ready("True")]})
    live["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    assert readiness(live).reason == "it is being deleted"
