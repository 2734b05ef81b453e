"""Whatever the spec allows renders to manifests without an error: the linter finds no false ones, and we make none."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.manifests.document import Document
from headrace.manifests.lint.engine import findings
from headrace.manifests.lint.manifest import Manifest
from headrace.manifests.options import RenderOptions
from headrace.manifests.profiles import with_profile
from headrace.manifests.rendering import render
from headrace.manifests.spec import InferenceApp

from ..specs import documents  # noqa: TID252  # tests are no package with a name to import from


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.sampled_from([None, "dev", "gpu", "prod"]))
def test_no_rendered_manifest_has_an_error(document: dict[str, Any], profile: str | None) -> None:
    """A rule that is wrong, or a renderer that breaks one, shows here."""
    app = InferenceApp.model_validate(document)
    made = render(with_profile(app, profile) if profile else app, RenderOptions(image="registry.example.com/a:1"))
    manifests = [Manifest("a.yaml", "", Document(1, each, {}), (), each) for each in made]
    assert not [each for each in findings(manifests) if each.severity == "error"]
