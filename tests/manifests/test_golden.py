"""The example's manifests, as they were when somebody last looked at them.

A change of a renderer shows here as a diff. Set HEADRACE_UPDATE_GOLDEN=1 to write the files anew, and read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.manifests.concerns.every import PRODUCTION
from headrace.manifests.loading import load_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.rendering import CONCERNS
from headrace.manifests.yaml_text import to_yaml

GOLDEN = Path(__file__).with_name("golden")
OPTIONS = RenderOptions(image="registry.example.com/headrace:golden")


@pytest.mark.parametrize("concern", [each for each in CONCERNS if each not in PRODUCTION])
def test_the_example_renders_as_before(concern: str, pictures: Path) -> None:
    """No manifest changes unseen."""
    text = to_yaml(each for app in load_apps(pictures) for each in CONCERNS[concern](app, OPTIONS))
    path = GOLDEN / f"picture-labels.{concern}.yaml"
    if text and os.environ.get("HEADRACE_UPDATE_GOLDEN"):
        path.write_text(text)
    # A concern that the example does not ask for has no file.
    assert text == (path.read_text() if path.exists() else "")


def test_every_golden_file_belongs_to_a_concern() -> None:
    """A concern that went leaves no file behind."""
    assert {path.name for path in GOLDEN.iterdir()} <= {f"picture-labels.{concern}.yaml" for concern in CONCERNS}
