"""The Helm chart: with its own values it is what is rendered, and its values reach what they are for."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from headrace.manifests.loading import load_apps, parse_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.packaging.helm import helm
from headrace.manifests.profiles import with_profile
from headrace.manifests.rendering import render_all
from headrace.manifests.spec import InferenceApp

from ..specs import documents  # noqa: TID252  # tests are no package, and have no absolute name

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.manifests.packaging.files import Files

ACTION = re.compile(r"\{\{ (.*?) \}\}")
OPTIONS = RenderOptions(image="me/it:1", kafka="k-kafka-bootstrap.data.svc:9092,l:9092")
TRICKY = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: tricky, namespace: lab}
spec:
  predictor: {class: "a:B", env: {A: "{{ .Values.image }} {{{ x }}", B: "}} {{-"}, image: "other:2"}
  trigger: {topic: t, delivery: knative-source}
"""


def evaluated(template: str, values: dict[str, Any]) -> Any:
    """What Helm makes of a template, for the few forms of actions that charts of ours have; others are refused."""

    def found(match: re.Match[str]) -> str:
        action = match[1]
        if action == '"{{"':
            return "{{"
        source, *steps = [step.strip() for step in action.split("|")]
        if source.startswith("index .Values.apps "):
            value: Any = values["apps"]
            for key in re.findall(r'"([^"]*)"', source):
                value = value[key]
        else:
            path = source.removeprefix('splitList "," ').removeprefix(".Values.").split(".")
            value = values
            for key in path:
                value = value[key]
            value = value.split(",") if source.startswith("splitList") else value
        assert steps in (["quote"], ["int"], ["toJson"]), action
        return str(int(value)) if steps == ["int"] else json.dumps(value)

    return yaml.safe_load(ACTION.sub(found, template))


def chart_of(files: Files) -> tuple[dict[str, Any], list[str]]:
    """The chart's values and its templates, in their order."""
    return yaml.safe_load(files["values.yaml"]), [text for name, text in files.items() if name.startswith("templates/")]


@pytest.mark.parametrize("profile", [None, "dev", "gpu", "prod"])
def test_the_chart_with_its_own_values_is_what_is_rendered(pictures: Path, profile: str | None) -> None:
    """Nothing is lost, added or changed on the way, under any profile."""
    resources = render_all(load_apps(pictures, profile), OPTIONS)
    values, templates = chart_of(helm("pictures", resources, OPTIONS))
    assert [evaluated(each, values) for each in templates] == resources


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_any_apps_chart_is_what_is_rendered(document: dict[str, Any]) -> None:
    """Under `prod`, whose dashboards and alerts are full of braces, and with whatever else the spec allows."""
    app = with_profile(InferenceApp.model_validate(document), "prod")
    resources = render_all([app], OPTIONS)
    values, templates = chart_of(helm(app.name, resources, OPTIONS))
    assert [evaluated(each, values) for each in templates] == resources


def test_what_looks_like_a_template_stays_text() -> None:
    """Braces in variables, dashboards and alert texts are no actions of the chart's."""
    resources = render_all(parse_apps(TRICKY, "f"), OPTIONS)
    values, templates = chart_of(helm("tricky", resources, OPTIONS))
    assert [evaluated(each, values) for each in templates] == resources


def test_values_reach_what_they_are_for(pictures: Path) -> None:
    """Image, bootstrap servers and replicas, each at every place, and nowhere else."""
    resources = render_all(load_apps(pictures), OPTIONS)
    values, templates = chart_of(helm("pictures", resources, OPTIONS))
    values["image"], values["kafka"]["bootstrapServers"] = "new:2", "x:1"
    values["apps"]["picture-labels"] = {
        "predictor": {"min": 1, "max": 2}, "transformer": {"min": 3, "max": 4}, "dispatcher": {"min": 5, "max": 6},
    }  # fmt: skip
    found = [evaluated(each, values) for each in templates]
    wanted = copy.deepcopy(resources)
    service = next(each["spec"] for each in wanted if each["kind"] == "InferenceService")
    service["predictor"].update(minReplicas=1, maxReplicas=2)
    service["transformer"].update(minReplicas=3, maxReplicas=4)
    scaled = next(each["spec"] for each in wanted if each["kind"] == "ScaledObject")
    scaled.update(minReplicaCount=5, maxReplicaCount=6)
    text = json.dumps(wanted).replace(OPTIONS.image, "new:2").replace(OPTIONS.kafka, "x:1")
    assert found == json.loads(text)


def test_a_resource_may_have_many_values() -> None:
    """The tenth is not taken for the first."""
    images = [OPTIONS.image, *(OPTIONS.kafka for _ in range(11)), OPTIONS.image]
    about = {"name": "x", "labels": {"app.kubernetes.io/name": "x"}}
    resource = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"all": images}}
    values, (template,) = chart_of(helm("many", [resource], OPTIONS))
    assert evaluated(template, values) == resource


def test_lists_of_servers_follow_the_value() -> None:
    """Knative wants the servers as a list: as many as the value names."""
    values, templates = chart_of(helm("tricky", render_all(parse_apps(TRICKY, "f"), OPTIONS), OPTIONS))
    values["kafka"]["bootstrapServers"] = "a:1,b:2,c:3"
    sources = [each for each in (evaluated(text, values) for text in templates) if each["kind"] == "KafkaSource"]
    assert [each["spec"]["bootstrapServers"] for each in sources] == [["a:1", "b:2", "c:3"]]


def test_the_chart_is_one(pictures: Path) -> None:
    """Helm's own fields are there, values are checked by a schema, and the same apps give the same bytes."""
    resources = render_all(load_apps(pictures), OPTIONS)
    files = helm("pictures", resources, OPTIONS)
    about = yaml.safe_load(files["Chart.yaml"])
    assert (about["apiVersion"], about["name"], about["type"]) == ("v2", "pictures", "application")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", about["version"])
    validator = jsonschema.Draft7Validator(json.loads(files["values.schema.json"]))
    values, _ = chart_of(files)
    validator.validate({**values, "global": {}})
    wrongs: list[dict[str, Any]] = [{"imagee": "x"}, {"image": ""}, {"apps": {}}, {"kafka": {"bootstrapServers": 1}}]
    for wrong in wrongs:
        assert not validator.is_valid({**values, **wrong}), wrong
    assert helm("pictures", resources, OPTIONS) == files
