"""A namespace of its own, and pods that its pod security admits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pods(found: list[Resource]) -> Iterator[dict[str, Any]]:
    """Every pod that the resources describe."""
    for each in found:
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"]
        elif each["kind"] == "InferenceService":
            yield from each["spec"].values()


def offences(pod: dict[str, Any]) -> Iterator[str]:
    """What the profile ``restricted`` of Kubernetes' pod security standards refuses."""
    whole = pod.get("securityContext", {})
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    yield from (f"volume {each['name']}" for each in pod.get("volumes", []) if not VOLUMES & set(each))
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        name = container["name"]
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield f"{name}: capabilities"
        if not own.get("runAsNonRoot", whole.get("runAsNonRoot")):
            yield f"{name}: runAsNonRoot"
        if own.get("seccompProfile", whole.get("seccompProfile")) != {"type": "RuntimeDefault"}:
            yield f"{name}: seccompProfile"
        if own.get("runAsUser", whole.get("runAsUser", 1)) == 0 or own.get("privileged"):
            yield f"{name}: root"


def test_the_namespace_enforces_what_every_pod_holds(prod: MakeApp, resources: Render) -> None:
    """A pod that `restricted` refuses would never start, and only its ReplicaSet's events would say so."""
    found = resources(prod())
    (namespace,) = [each for each in found if each["kind"] == "Namespace"]
    assert namespace["metadata"]["name"] == "vision"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(list(pods(found))) == 4
    assert [offence for pod in pods(found) for offence in offences(pod)] == []


def test_every_pod_is_restricted_wherever_it_stands(plain: MakeApp, resources: Render) -> None:
    """Also without a namespace of its own: whoever has the namespace may enforce `restricted` in it."""
    for found in (resources(plain()), resources(plain(isolation={}))):
        assert len(list(pods(found))) == 3
        assert [offence for pod in pods(found) for offence in offences(pod)] == []


def test_the_namespace_comes_first(prod: MakeApp, resources: Render) -> None:
    """All else lives in it, or is refused."""
    assert resources(prod())[0]["kind"] == "Namespace"


def test_sidecars_come_by_themselves(plain: MakeApp, resources: Render) -> None:
    """With a mesh the namespace says so too, for pods that others put into it."""
    (with_mesh,) = resources(plain(isolation={}, mesh={}), "Namespace")
    (without,) = resources(plain(isolation={}), "Namespace")
    assert with_mesh["metadata"]["labels"]["istio-injection"] == "enabled"
    assert "istio-injection" not in without["metadata"]["labels"]


def test_the_namespace_outlives_an_app(plain: MakeApp, resources: Render) -> None:
    """It bears no app's name: what is deleted by an app's label leaves the others' home standing."""
    (namespace,) = resources(plain(isolation={}), "Namespace")
    assert namespace["metadata"]["labels"]["app.kubernetes.io/name"] == "headrace"


def test_the_check_sees_what_restricted_refuses() -> None:
    """A bare container offends in four ways; else the test above would say nothing."""
    assert len(list(offences({"containers": [{"name": "a"}], "hostNetwork": True}))) == 5
