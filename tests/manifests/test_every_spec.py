"""Whatever the spec allows renders to manifests that a cluster takes, under every profile.

Checked three times: by the rules of Kubernetes that any resource must keep, written down here; by Kubernetes' own
schemas of the core kinds; and by those of the custom resources, strictly, where they lie beside the repository.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.manifests.options import RenderOptions
from headrace.manifests.packaging.files import identity
from headrace.manifests.profiles import with_profile
from headrace.manifests.rendering import render
from headrace.manifests.spec import InferenceApp

from .specs import documents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.resource import Resource

SCHEMAS = Path(__file__).parents[3] / "shared/schemas"
needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas of the custom resources are not here")
profiles = st.sampled_from([None, "dev", "gpu", "prod"])
options = st.sampled_from(
    [RenderOptions(), RenderOptions(image="me/it:1", kafka="k.example.com:9093,l:1", strimzi=None)]
)
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTP]|[KMGTP]i)?\Z")
WITHOUT_SCHEMA = {"external-secrets.io", "cert-manager.io", "extensions.istio.io"}
CORE = {"", "apps", "rbac.authorization.k8s.io", "networking.k8s.io", "policy", "scheduling.k8s.io"}


@pytest.fixture(scope="module")
def rendered() -> Any:
    """Renders a document under a profile."""

    def make(document: dict[str, Any], profile: str | None, cluster: RenderOptions) -> list[Resource]:
        app = InferenceApp.model_validate(document)
        return render(with_profile(app, profile) if profile else app, cluster)

    return make


@cache
def validator(api_version: str, kind: str) -> jsonschema.Draft202012Validator | None:
    """The validator of a custom resource; None for core kinds and for operators whose schemas are not there."""
    group = api_version.rpartition("/")[0]
    path = SCHEMAS / f"{api_version.replace('/', '_')}_{kind}.json"
    if path.exists():
        return jsonschema.Draft202012Validator(json.loads(path.read_text()))
    assert group in CORE | WITHOUT_SCHEMA, f"no schema for {kind} of {api_version}"
    return None


@needs_schemas
@quick
@given(documents(), profiles, options)
def test_every_app_renders_to_what_the_schemas_allow(
    rendered: Any, document: dict[str, Any], profile: str | None, cluster: RenderOptions
) -> None:
    """No unknown field, no wrong type, no value out of range, in any custom resource."""
    for each in rendered(document, profile, cluster):
        if found := validator(each["apiVersion"], each["kind"]):
            found.validate(each)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), profiles, options, st.sampled_from(["1.32", "1.36"]))
def test_every_app_renders_to_what_kubernetes_allows(
    rendered: Any, document: dict[str, Any], profile: str | None, cluster: RenderOptions, version: str
) -> None:
    """The core kinds, strictly, by the schemas of the oldest and the newest Kubernetes that is supported."""
    for each in rendered(document, profile, cluster):
        if each["apiVersion"].rpartition("/")[0] in CORE:
            kubernetes_validate.validate(each, version, strict=True)


@quick
@given(documents(), profiles, options)
def test_every_app_renders_to_sound_resources(
    rendered: Any, document: dict[str, Any], profile: str | None, cluster: RenderOptions
) -> None:
    """Names, labels, annotations, pods and references are such as any cluster takes."""
    resources = rendered(document, profile, cluster)
    assert len({identity(each) for each in resources}) == len(resources)
    for each in resources:
        about = each["metadata"]
        assert NAME.match(about["name"]), about["name"]
        assert len(about["name"]) <= 253
        assert all(LABEL.match(value) for value in about["labels"].values()), about
        assert all(isinstance(value, str) for value in about.get("annotations", {}).values()), about
        assert about["labels"]["app.kubernetes.io/managed-by"] == "headrace"
        assert not list(nothings(each)), each
        for pod in pods(each):
            check_pod(pod)
    check_references(resources)


def nothings(value: Any, path: str = "") -> Iterator[str]:
    """Where a None stands: a cluster takes it for `remove this`."""
    if value is None:
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nothings(item, f"{path}.{key}")


def pods(resource: Resource) -> list[Any]:
    """The pod specifications in a resource."""
    if resource["kind"] == "Deployment":
        return [resource["spec"]["template"]["spec"]]
    if resource["kind"] == "InferenceService":
        return list(resource["spec"].values())
    return []


def check_pod(pod: dict[str, Any]) -> None:
    """One pod: unlike names, mounts of its own volumes, quantities, and requests within limits."""
    containers = pod["containers"]
    assert len({each["name"] for each in containers}) == len(containers)
    volumes = [each["name"] for each in pod.get("volumes", [])]
    assert len(set(volumes)) == len(volumes)
    for container in containers:
        variables = [each["name"] for each in container["env"]]
        assert len(set(variables)) == len(variables), variables
        assert all(isinstance(each.get("value", ""), str) for each in container["env"])
        assert {each["name"] for each in container.get("volumeMounts", [])} <= set(volumes)
        ports = [each["name"] for each in container.get("ports", [])]
        assert len(set(ports)) == len(ports)
        assert all(len(name) <= 15 for name in ports)
        amounts = container["resources"]
        assert all(QUANTITY.match(amount) for kind in amounts.values() for amount in kind.values()), amounts
    if "minReplicas" in pod:
        assert 0 <= pod["minReplicas"] <= pod["maxReplicas"]
        assert 1 <= pod["timeout"] <= 600
        assert [bool(each.get("ports")) for each in containers].count(True) == 1


def check_references(resources: list[Resource]) -> None:
    """What resources say of each other by name is there."""
    known = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in resources}
    for each in resources:
        spec, space = each.get("spec", {}), each["metadata"].get("namespace")
        if each["kind"] == "ScaledObject":
            assert ("Deployment", space, spec["scaleTargetRef"]["name"]) in known
            for trigger in spec["triggers"]:
                if "authenticationRef" in trigger:
                    assert ("TriggerAuthentication", space, trigger["authenticationRef"]["name"]) in known
        if each["kind"] in ("KafkaSource", "Trigger"):
            for sink in (spec.get("sink"), spec.get("subscriber"), spec["delivery"]["deadLetterSink"]):
                if sink:
                    assert (sink["ref"]["kind"], sink["ref"]["namespace"], sink["ref"]["name"]) in known
        if each["kind"] == "Trigger":
            assert ("Broker", space, spec["broker"]) in known
