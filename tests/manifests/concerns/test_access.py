"""Who may do what in the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from headrace.manifests.options import RenderOptions, Strimzi

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]

PEOPLE = {
    "deployers": [{"name": "ops"}],
    "viewers": [{"kind": "ServiceAccount", "name": "ci"}, {"kind": "User", "name": "eve@example.com"}],
}
ADMINISTRATORS = {"Role", "RoleBinding", "ResourceQuota", "LimitRange"}
"""Kinds that set bounds for a deployer, and so are not the deployer's."""


def may(role: Resource, verb: str, group: str, plural: str) -> bool:
    """Whether a role allows the verb."""
    return any(
        group in rule["apiGroups"] and plural in rule["resources"] and verb in rule["verbs"] for rule in role["rules"]
    )


def plural_of(kind: str) -> str:
    """The resource name of a kind."""
    return kind.lower().removesuffix("y") + "ies" if kind.endswith("y") else kind.lower() + "s"


def named(found: list[Resource], kind: str, name: str) -> Resource:
    """The one resource of that kind and name."""
    (one,) = [each for each in found if each["kind"] == kind and each["metadata"]["name"] == name]
    return one


def test_each_part_runs_under_its_own_account_without_rights(prod: MakeApp, resources: Render) -> None:
    """No pod gets a token for the cluster's API, and no binding names an account of the app."""
    found = resources(prod(access=PEOPLE))
    accounts = [each for each in found if each["kind"] == "ServiceAccount"]
    names = {each["metadata"]["name"] for each in accounts}
    assert names == {f"picture-labels-{role}" for role in ("dispatcher", "predictor", "transformer", "collector")}
    assert all(each["automountServiceAccountToken"] is False for each in accounts)
    bound = {one["name"] for each in found if each["kind"] == "RoleBinding" for one in each["subjects"]}
    assert bound.isdisjoint(names)
    used = {each["spec"]["template"]["spec"]["serviceAccountName"] for each in found if each["kind"] == "Deployment"}
    (service,) = [each["spec"] for each in found if each["kind"] == "InferenceService"]
    used |= {service[role]["serviceAccountName"] for role in ("predictor", "transformer")}
    assert used == names


def test_a_deployer_may_write_what_is_rendered(prod: MakeApp, resources: Render) -> None:
    """All of it in the app's namespace, but what bounds the deployer as well; a viewer may only look."""
    everything = prod(
        access=PEOPLE, domain={"host": "p.example.com", "certificate": "issuer", "issuer": "i"}, cost={"team": "x"}
    )
    found = resources(everything)
    deployer, viewer = (named(found, "Role", f"picture-labels-{role}") for role in ("deployer", "viewer"))
    own = [each for each in found if each["metadata"].get("namespace") == "vision"]
    assert {each["kind"] for each in own} & ADMINISTRATORS
    for each in own:
        group = each["apiVersion"].rpartition("/")[0]
        written = each["kind"] not in ADMINISTRATORS
        for verb in ("get", "create", "patch", "delete"):
            assert may(deployer, verb, group, plural_of(each["kind"])) is written, each["kind"]
        assert may(viewer, "get", group, plural_of(each["kind"])) is written
    assert {verb for rule in viewer["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert may(viewer, "get", "", "pods/log")


def test_no_role_reads_secrets_or_takes_all(prod: MakeApp, resources: Render) -> None:
    """Neither a wildcard, nor secrets, nor a shell in a pod, nor rights over rights."""
    for role in resources(prod(access=PEOPLE), "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "pods/exec"} & set(rule["resources"])
            if {"roles", "rolebindings"} & set(rule["resources"]):
                assert rule["verbs"] == ["get"]


def test_roles_are_given_to_those_named(plain: MakeApp, resources: Render) -> None:
    """And to nobody where nobody is named."""
    found = resources(plain(access=PEOPLE))
    binding = named(found, "RoleBinding", "picture-labels-viewer")
    assert binding["roleRef"]["name"] == "picture-labels-viewer"
    assert [(each["kind"], each["name"]) for each in binding["subjects"]] == [
        ("ServiceAccount", "ci"), ("User", "eve@example.com"),
    ]  # fmt: skip
    assert binding["subjects"][0]["namespace"] == "vision"
    assert "namespace" not in binding["subjects"][1]
    assert not resources(plain(access={}), "RoleBinding")


def test_topics_are_written_where_they_lie(plain: MakeApp, resources: Render) -> None:
    """A deployer needs topics in Kafka's namespace, also where the app lives there, and writes nothing else."""
    role = named(resources(plain(access=PEOPLE)), "Role", "vision-picture-labels-topics")
    assert role["metadata"]["namespace"] == "kafka"
    written = {name for rule in role["rules"] if "patch" in rule["verbs"] for name in rule["resources"]}
    assert written == {"kafkatopics", "kafkausers"}
    assert may(role, "get", "kafka.strimzi.io", "kafkas")
    beside_it = resources(plain(access=PEOPLE), options=RenderOptions(strimzi=Strimzi("main", "vision")))
    assert may(named(beside_it, "Role", "picture-labels-topics"), "patch", "kafka.strimzi.io", "kafkatopics")
    beside = RenderOptions(strimzi=None)
    assert {each["metadata"]["namespace"] for each in resources(plain(access={}), "Role", beside)} == {"vision"}
    there = RenderOptions(strimzi=Strimzi("main", "data"))
    assert "data" in {each["metadata"]["namespace"] for each in resources(plain(access={}), "Role", there)}


def test_credentials_are_named_and_never_written(plain: MakeApp, resources: Render) -> None:
    """The store's go to the predictor alone, those for images to all."""
    app = plain(access={"storageSecrets": ["s3"], "imagePullSecrets": ["registry"]})
    found = {each["metadata"]["name"]: each for each in resources(app, "ServiceAccount")}
    assert found["picture-labels-predictor"]["secrets"] == [{"name": "s3"}]
    assert "secrets" not in found["picture-labels-dispatcher"]
    assert all(each["imagePullSecrets"] == [{"name": "registry"}] for each in found.values())
    assert not resources(app, "Secret")


def test_knative_may_look_up_the_address_where_it_delivers(plain: MakeApp, resources: Render) -> None:
    """Its resolver adds up the roles with a label; with Headrace's dispatcher nobody asks."""
    assert not resources(plain(), "ClusterRole")
    (role,) = resources(plain(trigger={"delivery": "knative-broker"}), "ClusterRole")
    assert role["metadata"]["labels"]["duck.knative.dev/addressable"] == "true"
    assert may(role, "list", "serving.kserve.io", "inferenceservices")
    assert not may(role, "patch", "serving.kserve.io", "inferenceservices")


def test_an_account_of_the_users_own_is_used(plain: MakeApp, resources: Render) -> None:
    """It may have the credentials for the model's store; then none is made in its place."""
    found = resources(plain(access={}, mesh={}, predictor={"serviceAccount": "model-reader"}))
    (service,) = [each["spec"] for each in found if each["kind"] == "InferenceService"]
    assert service["predictor"]["serviceAccountName"] == "model-reader"
    names = {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    assert names == {"picture-labels-dispatcher", "picture-labels-transformer"}


def test_a_wrong_name_is_refused(plain: MakeApp) -> None:
    """A secret's name is a name, not a value."""
    with pytest.raises(ValidationError, match="lower-case"):
        plain(access={"storageSecrets": ["AKIA/secret=key"]})
