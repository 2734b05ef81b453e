"""What a namespace may use: the sum of what its apps may grow to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from headrace.manifests.quantity import parse_bytes
from headrace.manifests.rendering import render_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]

OWN = {"isolation": {}, "quota": {"headroom": 1}}


def hard(apps: Sequence[InferenceApp]) -> dict[str, float]:
    """The one quota's figures."""
    (found,) = [each for each in render_all(apps) if each["kind"] == "ResourceQuota"]
    return {key: parse_bytes(value) if "memory" in key else int(value) for key, value in found["spec"]["hard"].items()}


@pytest.fixture(scope="session")
def sized(app_of: MakeApp) -> MakeApp:
    """Makes an app of known size: 3 replicas of 2 cores, 1 GiB and 1 GPU; 4 dispatchers."""

    def make(name: str = "one", **spec: object) -> InferenceApp:
        resources = {"cpu": 2, "memory": "1Gi", "gpu": 1}
        predictor = {"resources": resources, "scale": {"max": 3}}
        size = {"predictor": predictor, "trigger": {"partitions": 4, "topic": f"{name}-events"}}
        return app_of(metadata={"name": name, "namespace": "lab"}, spec={**size, **OWN, **spec})

    return make


def test_the_quota_holds_all_that_may_run(sized: MakeApp) -> None:
    """Every replica of every part with its sidecars: the app at its largest is never refused."""
    found = hard([sized()])
    assert found["pods"] == 3 + 4
    assert found["requests.nvidia.com/gpu"] == 3
    assert found["requests.cpu"] == 9  # 3 x 2 + 4 x 0.25 + 7 x 0.2 of sidecars, up to a whole core
    assert found["requests.memory"] == (3 * 1024 + 4 * 256 + 7 * 256) << 20
    assert found["limits.memory"] == (3 * 1024 + 4 * 1024 + 7 * 256) << 20


def test_headroom_lets_old_and_new_run_side_by_side(sized: MakeApp) -> None:
    """A rollout needs more than the sum for a while."""
    roomy = hard([sized(quota={"headroom": 2})])
    assert roomy["pods"] == 14
    assert roomy["requests.nvidia.com/gpu"] == 6


def test_quotas_of_one_namespace_add_up(sized: MakeApp) -> None:
    """Kubernetes applies every quota to every pod: two in one namespace would each refuse the other's app."""
    one, two = sized("one"), sized("two", quota={"headroom": 3})
    both, first, second = hard([one, two]), hard([one]), hard([two])
    assert both == {key: first[key] + second[key] for key in first}
    kinds = [each["kind"] for each in render_all([one, two])]
    assert kinds.count("ResourceQuota") == kinds.count("LimitRange") == kinds.count("Namespace") == 1


def test_a_collector_counts_as_well(sized: MakeApp) -> None:
    """Whatever Headrace puts into the namespace has room in it."""
    assert hard([sized(tracing={})])["pods"] == 8


def test_slices_of_gpus_are_counted_as_slices(sized: MakeApp) -> None:
    """A quota on whole GPUs does not bound MIG slices."""
    resources = {"cpu": 2, "memory": "1Gi", "gpu": 1, "gpuResource": "nvidia.com/mig-1g.10gb"}
    predictor = {"class": "models.echo:Echo", "resources": resources, "scale": {"max": 3}}
    assert hard([sized(predictor=predictor)])["requests.nvidia.com/mig-1g.10gb"] == 3
    bounded = hard([sized(predictor=predictor, quota={"gpu": 2})])
    assert bounded["requests.nvidia.com/mig-1g.10gb"] == 2
    assert "requests.nvidia.com/gpu" not in bounded


def test_figures_of_the_apps_own_stand(sized: MakeApp) -> None:
    """A budget is a budget, whatever the sum."""
    found = hard([sized(quota={"cpu": 5, "memory": "3Gi", "gpu": 0})])
    assert (found["requests.cpu"], found["requests.nvidia.com/gpu"]) == (5, 0)
    assert found["requests.memory"] == found["limits.memory"] == 3 << 30


def test_what_states_nothing_gets_something(sized: MakeApp) -> None:
    """A quota on memory refuses a container without a figure, as Knative's own is."""
    (limits,) = [each["spec"]["limits"] for each in render_all([sized()]) if each["kind"] == "LimitRange"]
    (container,) = limits
    assert container["type"] == "Container"
    assert parse_bytes(container["defaultRequest"]["memory"]) <= parse_bytes(container["default"]["memory"])


def test_a_quota_needs_a_namespace_of_its_own(app_of: MakeApp) -> None:
    """It would bound the neighbours as well."""
    with pytest.raises(ValidationError, match="add isolation"):
        app_of(spec={"quota": {}})


@pytest.mark.parametrize("namespace", ["default", "kube-public"])
def test_shared_namespaces_are_left_alone(app_of: MakeApp, namespace: str) -> None:
    """The profile `prod` turns isolation on for every app; those in shared namespaces must not bound others."""
    found: list[Resource] = render_all([app_of(metadata={"namespace": namespace}, spec=OWN)])
    assert not {"Namespace", "ResourceQuota", "LimitRange"} & {each["kind"] for each in found}
