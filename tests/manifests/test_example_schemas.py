"""Every example under every profile, strictly: custom resources by their own schemas, core ones by Kubernetes'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest

from headrace.manifests.loading import load_apps
from headrace.manifests.profiles import with_profile
from headrace.manifests.rendering import render

from .test_every_spec import CORE, WITHOUT_SCHEMA, needs_schemas, validator

if TYPE_CHECKING:
    from headrace.manifests.resource import Resource

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in ROOT.glob("examples/*/headrace.yaml"))
KUBERNETES = ("1.32", "1.36")


def rendered(example: str, profile: str | None) -> list[Resource]:
    """The example's resources under a profile."""
    (app,) = load_apps(ROOT / f"examples/{example}/headrace.yaml")
    return render(with_profile(app, profile) if profile else app)


def check(each: dict[str, Any]) -> str:
    """Validate one resource; by which kind of schema."""
    group = each["apiVersion"].rpartition("/")[0]
    if group in CORE:
        for version in KUBERNETES:
            kubernetes_validate.validate(each, version, strict=True)
        return "core"
    found = validator(each["apiVersion"], each["kind"])
    if found is None:
        assert group in WITHOUT_SCHEMA, each["apiVersion"]
        return "none"
    found.validate(each)
    return "custom"


@needs_schemas
@pytest.mark.parametrize("profile", [None, "dev", "gpu", "prod"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_cluster_takes_the_example(example: str, profile: str | None) -> None:
    """No unknown field, no wrong type, in the oldest and the newest Kubernetes supported."""
    kinds = [check(each) for each in rendered(example, profile)]
    assert set(kinds) == {"core", "custom"}


@needs_schemas
def test_mistakes_are_seen() -> None:
    """A field that no schema has, in a core resource and in a custom one: else the test above would say nothing."""
    found = {each["kind"]: each for each in rendered("pictures", None)}
    found["Deployment"]["spec"]["replica"] = 1
    found["InferenceService"]["spec"]["predictor"]["minReplica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        check(found["Deployment"])
    with pytest.raises(jsonschema.ValidationError):
        check(found["InferenceService"])


def test_the_three_apps_are_there() -> None:
    """Pictures, text and audio have examples."""
    assert {"pictures", "text", "audio"} <= set(EXAMPLES)
