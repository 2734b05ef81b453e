"""What an administrator holds and a deployer may read: all of it, by name, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace.manifests.concerns.access import DEPLOYED, TOPICS
from headrace.manifests.concerns.bounds import plural_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]

PEOPLE = {"deployers": [{"name": "ops"}]}
GUARDED = {
    "domain": {"host": "p.example.com", "certificate": "issuer", "issuer": "i"},
    "mesh": {"jwt": {"issuer": "https://id.example.com"}},
    "protection": {"waf": {"plugin": "oci://registry.example.com/coraza:1"}},
}
CACHED = {"predictor": {"model": "s3://models/one", "cache": {"size": "1Gi", "nodeGroups": ["gpu"]}}}


def roles(found: list[Resource]) -> dict[str, Resource]:
    """The roles of the bounds by their place."""
    return {
        each["metadata"].get("namespace", ""): each
        for each in found
        if each["kind"] in ("Role", "ClusterRole") and each["metadata"]["name"].endswith("-bounds")
    }


def written(place: str, plural: str) -> bool:
    """Whether a deployer writes it there."""
    tables: dict[str, dict[str, tuple[str, ...]]] = {"vision": DEPLOYED, "kafka": TOPICS}
    kinds = tables.get(place, {})
    return any(plural in names for names in kinds.values())


@pytest.mark.parametrize(
    "spec",
    [{}, GUARDED, CACHED, {"trigger": {"delivery": "knative-broker"}}],
    ids=["prod", "guarded", "cached", "broker"],
)
def test_what_a_deployer_does_not_write_it_may_read(spec: Resource, prod: MakeApp, resources: Render) -> None:
    """Every rendered resource is one or the other, the roles themselves among them; read by name and no more."""
    found = resources(prod(access=PEOPLE, **spec))
    read = {
        (place, name, one)
        for place, role in roles(found).items()
        for rule in role["rules"]
        for name in rule["resources"]
        for one in rule["resourceNames"]
    }
    held = set()
    for each in found:
        about, plural = each["metadata"], plural_of(each["kind"])
        place = about["name"] if each["kind"] == "Namespace" else about.get("namespace", "")
        if not written(place, plural):
            held.add((place, plural, about["name"]))
    assert read == held
    assert {verb for role in roles(found).values() for rule in role["rules"] for verb in rule["verbs"]} == {"get"}


def test_each_role_is_given_to_the_deployers(prod: MakeApp, resources: Render) -> None:
    """In every place, cluster-wide by a ClusterRoleBinding."""
    found = resources(prod(access=PEOPLE, **GUARDED))
    bindings = [each for each in found if each["kind"].endswith("Binding") and "bounds" in each["metadata"]["name"]]
    assert {each["metadata"].get("namespace", "") for each in bindings} == set(roles(found))
    assert {"", "vision", "kafka", "istio-system"} == set(roles(found))
    assert all([one["name"] for one in each["subjects"]] == ["ops"] for each in bindings)


def test_where_nobody_deploys_there_is_none(prod: MakeApp, resources: Render) -> None:
    """Neither for an app without access, nor for one without deployers."""
    assert not roles(resources(prod(access={})))
    assert not roles(resources(prod(access=None, mesh=None)))
