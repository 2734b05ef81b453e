"""Manifests against the JSON Schemas of the custom resources, where those lie beside the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from headrace.manifests.loading import load_apps
from headrace.manifests.rendering import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.spec import InferenceApp

SCHEMAS = Path(__file__).parents[3] / "shared/schemas"
needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas of the custom resources are not here")
CUSTOM = {"KafkaTopic", "InferenceService", "ScaledObject"}


def check(resource: dict[str, Any]) -> None:
    """Validate a custom resource against its own schema."""
    name = f"{resource['apiVersion'].replace('/', '_')}_{resource['kind']}.json"
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / name).read_text())).validate(resource)


@needs_schemas
def test_the_example_is_valid_for_the_custom_resources(pictures: Path) -> None:
    """A cluster takes what is rendered: KServe 0.21, Strimzi, KEDA."""
    custom = [each for each in render(load_apps(pictures)[0]) if each["kind"] in CUSTOM]
    assert {each["kind"] for each in custom} == CUSTOM
    for each in custom:
        check(each)


@needs_schemas
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"predictor": {"resources": {"cpu": "250m", "memory": 1000, "gpu": 2}, "env": {"A": ""}, "model": "s3://a/b"}},
        {"transformer": {"class": "a:B", "scale": {"min": 1, "max": 2, "idle": "1h"}}, "results": {"topic": "A_b"}},
        {"trigger": {"topic": "Big_One", "partitions": 1000, "timeout": "1500ms", "coldStart": "1500ms"}},
    ],
)
def test_all_that_the_spec_allows_is_valid(app_of: Callable[..., InferenceApp], spec: dict[str, Any]) -> None:
    """The bounds of the spec lie within those of the custom resources."""
    for each in render(app_of(spec=spec)):
        if each["kind"] in CUSTOM:
            check(each)


@needs_schemas
def test_the_check_finds_mistakes(pictures: Path) -> None:
    """A wrong key or kind of value is seen: else the tests above would say nothing."""
    for change in ({"minReplica": 1}, {"scaleMetric": "qps"}, {"maxReplicas": "3"}):
        service = next(each for each in render(load_apps(pictures)[0]) if each["kind"] == "InferenceService")
        service["spec"]["predictor"].update(change)
        with pytest.raises(jsonschema.ValidationError):
            check(service)
