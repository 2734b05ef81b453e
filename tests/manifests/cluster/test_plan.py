"""What is to be in the cluster, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import ConfigurationError
from headrace.manifests.cluster.plan import STAGES, plan_of, stage_of, stages
from headrace.manifests.cluster.pruning import backwards
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.loading import load_apps
from headrace.manifests.options import RenderOptions
from headrace.testing.cluster.kinds import all_kinds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.manifests.spec import InferenceApp


def test_the_order_is_namespace_rights_configuration_topics_policies_services_dispatcher(pictures: Path) -> None:
    """What is needed is there before what needs it, and the guards before the app."""
    plan = plan_of(load_apps(pictures, "prod"), RenderOptions())
    order = [[each["kind"] for each in stage] for stage in stages(plan.resources)]
    where = {kind: number for number, stage in enumerate(order) for kind in stage if kind != "Deployment"}
    wanted = [
        "Namespace", "ServiceAccount", "ConfigMap", "KafkaTopic", "NetworkPolicy", "InferenceService", "ScaledObject",
    ]  # fmt: skip
    assert [where[kind] for kind in wanted] == sorted(where[kind] for kind in wanted)
    assert len({where[kind] for kind in wanted}) == len(wanted)
    dispatcher = next(n for n, stage in enumerate(stages(plan.resources)) if any(map(_dispatches, stage)))
    assert where["InferenceService"] < dispatcher < where["ScaledObject"]


def _dispatches(resource: dict[str, Any]) -> bool:
    return Reference.of(resource).kind == "Deployment" and Reference.of(resource).name.endswith("-dispatcher")


def test_every_resource_is_in_one_stage(pictures: Path) -> None:
    """None is lost, none applied twice; and deleting goes the other way."""
    plan = plan_of(load_apps(pictures, "prod"), RenderOptions())
    staged = [Reference.of(each) for stage in stages(plan.resources) for each in stage]
    assert sorted(staged) == sorted(map(Reference.of, plan.resources))
    back = backwards(staged)
    assert sorted(each for stage in back for each in stage) == sorted(staged)
    assert back[0][0].kind == "ScaledObject"
    assert [each.kind for each in back[-1]] == ["Namespace"]


def test_what_apps_share_belongs_to_none(pictures: Path) -> None:
    """So it is neither pruned nor deleted with one of them."""
    plan = plan_of(load_apps(pictures, "prod"), RenderOptions())
    kinds = {each["kind"] for each in plan.shared}
    assert {"Namespace", "ResourceQuota", "LimitRange"} <= kinds
    assert not any(each["kind"] == "Namespace" for app in plan.apps for each in app.resources)


def test_each_app_has_its_own(app_of: Callable[..., InferenceApp]) -> None:
    """Of two apps, and a topic that both name is one's alone."""
    one = app_of(spec={"results": {"topic": "between"}})
    two = app_of(metadata={"name": "next"}, spec={"trigger": {"topic": "between"}})
    plan = plan_of([one, two], RenderOptions())
    named = {app.name: {each["metadata"]["name"] for each in app.resources} for app in plan.apps}
    assert "between" in named["next"]
    assert "between" not in named["echo"]
    assert {"echo", "echo-dispatcher"} <= named["echo"]


def test_an_app_may_not_be_called_as_what_is_shared(app_of: Callable[..., InferenceApp]) -> None:
    """Else pruning it would take others' things along."""
    with pytest.raises(ConfigurationError, match="give it another"):
        plan_of([app_of(metadata={"name": "headrace"})], RenderOptions())


def test_the_stages_name_kinds_that_exist() -> None:
    """A misspelt kind would be applied with the services."""
    known = {kind for _, kind in all_kinds()}
    assert {kind for stage in STAGES for kind in stage} <= known
    assert stage_of("Secret") == stage_of("InferenceService")
