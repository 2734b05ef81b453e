"""Rollouts, disruptions, costs, logs: what concerns add to the pods of the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.manifests.concerns.additions import PodAdditions, add

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]


def service(found: list[Resource]) -> dict[str, Any]:
    """The InferenceService's spec."""
    (one,) = [each["spec"] for each in found if each["kind"] == "InferenceService"]
    return dict(one)


def dispatcher(found: list[Resource]) -> dict[str, Any]:
    """The dispatcher's pod template."""
    (one,) = [
        each for each in found if each["metadata"]["name"].endswith("-dispatcher") and each["kind"] == "Deployment"
    ]
    return dict(one["spec"]["template"])


def test_a_canary_gets_its_share_at_the_predictor_alone(plain: MakeApp, resources: Render) -> None:
    """Both shared out would hardly ever meet; 0 takes the new revision out again."""
    for share in (10, 0):
        found = service(resources(plain(rollout={"canary": share})))
        assert found["predictor"]["canaryTrafficPercent"] == share
        assert "canaryTrafficPercent" not in found["transformer"]
    assert "canaryTrafficPercent" not in service(resources(plain(rollout={})))["predictor"]


def test_a_rollout_takes_its_time(plain: MakeApp, resources: Render) -> None:
    """Knative moves requests slowly where a duration is given, and each revision has an address where asked for."""
    found = service(resources(plain(rollout={"duration": "90s", "tags": True})))
    for role in ("predictor", "transformer"):
        assert found[role]["annotations"]["serving.knative.dev/rollout-duration"] == "90s"
        assert found[role]["annotations"]["serving.kserve.io/enable-tag-routing"] == "true"
    at_once = service(resources(plain(rollout={"duration": "0"})))["predictor"]["annotations"]
    assert "serving.knative.dev/rollout-duration" not in at_once
    assert "serving.kserve.io/enable-tag-routing" not in at_once


def test_knative_takes_whole_seconds(plain: MakeApp) -> None:
    """It refuses a finer duration late, on the service."""
    with pytest.raises(ValidationError, match="whole seconds"):
        plain(rollout={"duration": "1500ms"})


def test_a_drain_takes_one_pod_at_a_time(plain: MakeApp, resources: Render) -> None:
    """Of each part that may have several; a lone pod, or a broken one, never keeps its node."""
    found = resources(plain(disruption={}, transformer={"scale": {"max": 1}}))
    budgets = [each for each in found if each["kind"] == "PodDisruptionBudget"]
    assert [each["metadata"]["name"] for each in budgets] == ["picture-labels-dispatcher", "picture-labels-predictor"]
    labels = {
        "dispatcher": dispatcher(found)["metadata"]["labels"],
        "predictor": service(found)["predictor"]["labels"],
    }
    for each in budgets:
        role = each["metadata"]["labels"]["app.kubernetes.io/component"]
        assert each["spec"]["selector"]["matchLabels"].items() <= labels[role].items()
        assert each["spec"]["maxUnavailable"] == 1
        assert each["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_priority_evicts_nobody(plain: MakeApp, resources: Render) -> None:
    """The app's pods are placed first, and take no running pod's place."""
    found = resources(plain(disruption={"priority": 7}))
    (priority,) = [each for each in found if each["kind"] == "PriorityClass"]
    assert (priority["value"], priority["preemptionPolicy"], priority["globalDefault"]) == (7, "Never", False)
    assert "namespace" not in priority["metadata"]
    pod = dispatcher(found)["spec"]
    assert pod["priorityClassName"] == priority["metadata"]["name"]
    for each in pod["topologySpreadConstraints"]:
        assert each["labelSelector"]["matchLabels"].items() <= dispatcher(found)["metadata"]["labels"].items()
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"


def test_models_are_spread_where_knative_allows_it(plain: MakeApp, resources: Render) -> None:
    """Its flags are off as it comes: a service with these fields would be refused."""
    off, on = (service(resources(plain(disruption={"models": models}))) for models in (False, True))
    for role in ("predictor", "transformer"):
        assert not {"priorityClassName", "topologySpreadConstraints"} & set(off[role])
        assert {"priorityClassName", "topologySpreadConstraints"} <= set(on[role])


def test_costs_add_up_by_label(prod: MakeApp, resources: Render) -> None:
    """On every pod and on all that is the app's own, but not on what apps share; the user's own label wins."""
    found = resources(prod(cost={"team": "vision", "env": "prod"}))
    for each in found:
        shared = each["metadata"]["labels"]["app.kubernetes.io/name"] == "headrace"
        assert ("team" in each["metadata"]["labels"]) is not shared, each["kind"]
    for pod in (dispatcher(found)["metadata"], *service(found).values()):
        assert (pod["labels"]["team"], pod["labels"]["env"]) == ("vision", "prod")
        assert "owner" not in pod["labels"]


def test_containers_log_as_asked(plain: MakeApp, resources: Render) -> None:
    """The same for all; a log agent learns that lines are JSON where they are."""
    for form, parser in (("json", "json"), ("text", None)):
        found = resources(plain(logging={"format": form, "level": "debug"}))
        pods = [(dispatcher(found)["metadata"], dispatcher(found)["spec"])]
        pods += [(each, each) for each in service(found).values()]
        for about, pod in pods:
            env = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
            assert (env["HEADRACE_LOG_FORMAT"], env["HEADRACE_LOG_LEVEL"]) == (form, "debug")
            assert about["annotations"].get("fluentbit.io/parser") == parser


def test_an_addition_never_overwrites() -> None:
    """What the app, or another renderer, has said stays; values are not shared between pods."""
    container = {"name": "c", "env": [{"name": "A", "value": "mine"}], "securityContext": {"runAsUser": 7}}
    pod: dict[str, Any] = {"containers": [container], "labels": {"l": "mine"}, "serviceAccountName": "mine"}
    other: dict[str, Any] = {"containers": [{"name": "c"}]}
    found = [{"kind": "InferenceService", "spec": {"predictor": pod, "transformer": other}}]
    spread: list[dict[str, str]] = [{"a": "b"}]
    added = PodAdditions(
        labels={"l": "added", "m": "added"},
        env={"A": "added", "B": "added"},
        spec={"serviceAccountName": "added", "topologySpreadConstraints": spread},
        container={"securityContext": {"runAsUser": 0}},
        ports=({"containerPort": 1},),
    )
    for role in ("predictor", "transformer", "dispatcher"):
        add(found, role, added)
    assert pod["labels"] == {"l": "mine", "m": "added"}
    assert pod["serviceAccountName"] == "mine"
    assert container["env"] == [{"name": "A", "value": "mine"}, {"name": "B", "value": "added"}]
    assert container["securityContext"] == {"runAsUser": 7}
    assert pod["topologySpreadConstraints"] == other["topologySpreadConstraints"] == spread
    assert pod["topologySpreadConstraints"] is not other["topologySpreadConstraints"]
