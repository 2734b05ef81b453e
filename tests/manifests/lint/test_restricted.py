"""Each demand of the Pod Security Standard `restricted`, broken by itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from headrace.manifests.document import Document
from headrace.manifests.lint.manifest import Manifest
from headrace.manifests.lint.pods import pods
from headrace.manifests.lint.rules.restricted import restricted_faults

CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


def faults(container: dict[str, Any], pod: dict[str, Any], **more: Any) -> list[str]:
    """What is said of a pod with these security contexts."""
    spec = {"securityContext": pod, "containers": [{"name": "a", "securityContext": container}], **more}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    (one,) = pods(Manifest("a.yaml", "", Document(1, body, {}), (), body))
    return [each.why for each in restricted_faults(one)]


def test_a_pod_that_keeps_it_is_let_be() -> None:
    """By the pod's context or by the container's own."""
    assert not faults(CONTAINER, POD)
    assert not faults({**CONTAINER, **POD}, {})
    assert not faults({**CONTAINER, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, POD)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"allowPrivilegeEscalation": True}, "may gain rights"),
        ({"privileged": True}, "is privileged"),
        ({"capabilities": {"drop": ["NET_RAW"]}}, "keeps capabilities"),
        ({"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}, "adds SYS_ADMIN"),
        ({"runAsNonRoot": False}, "may run as root"),
        ({"runAsUser": 0}, "runs as root"),
        ({"seccompProfile": {"type": "Unconfined"}}, "has no seccomp profile"),
    ],
)
def test_each_demand_of_a_container(change: dict[str, Any], said: str) -> None:
    """One thing wrong, one thing said; the container's own context wins over the pod's."""
    assert faults({**copy.deepcopy(CONTAINER), **change}, POD) == [said]


@pytest.mark.parametrize("missing", ["runAsNonRoot", "seccompProfile"])
def test_what_nobody_sets_is_missing(missing: str) -> None:
    """The standard asks for them in words: absent is wrong."""
    assert len(faults(CONTAINER, {key: value for key, value in POD.items() if key != missing})) == 1


def test_each_demand_of_a_pod() -> None:
    """Neither the node's namespaces nor its files."""
    assert faults(CONTAINER, POD, hostPID=True) == ["is not allowed"]
    assert faults(CONTAINER, POD, volumes=[{"name": "a", "hostPath": {"path": "/"}}]) == [
        "a volume of hostPath is not allowed"
    ]
    assert not faults(CONTAINER, POD, volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {}}])
