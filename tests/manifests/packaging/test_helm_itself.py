"""The chart, read by Helm itself where its library is installed (helm-python-sdk: Helm v4, 244 MB)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from headrace.manifests.loading import load_apps, parse_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.packaging.helm import helm
from headrace.manifests.rendering import render_all

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.manifests.packaging.files import Files
    from headrace.manifests.resource import Resource

chart: Any = pytest.importorskip("helm_python.chart", reason="helm-python-sdk, which is Helm itself, is not installed")
OPTIONS = RenderOptions(image="me/it:1", kafka="k-kafka-bootstrap.data.svc:9092,l:9092")
TRICKY = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: tricky, namespace: lab}
spec:
  predictor: {class: "a:B", env: {A: "{{ .Values.image }} {{{ x }}", B: "}} {{-"}, image: "other:2"}
  trigger: {topic: t, delivery: knative-source}
"""


def written(files: Files, folder: Path) -> Path:
    """The chart in a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def installed(folder: Path, **values: Any) -> list[Resource]:
    """What Helm would install, in no order."""
    texts = chart.Chart.load(folder).render(values or None).values()
    found = [each for text in texts for each in yaml.safe_load_all(text) if each]
    return sorted(found, key=place)


def place(resource: Resource) -> tuple[str, str, str]:
    """What tells a resource from others."""
    about = resource["metadata"]
    return resource["kind"], about.get("namespace", ""), about["name"]


@pytest.mark.parametrize("profile", [None, "dev", "gpu", "prod"])
def test_helm_installs_what_is_rendered(profile: str | None, pictures: Path, tmp_path: Path) -> None:
    """With its own values, to the last field; and Helm's linter has nothing against it."""
    resources = render_all(load_apps(pictures, profile), OPTIONS)
    folder = written(helm("pictures", resources, OPTIONS), tmp_path)
    assert installed(folder) == sorted(resources, key=place)
    report = chart.lint(folder)
    assert not report["errors"]
    assert all(each["severity"] < 2 for each in report["messages"])


def test_what_looks_like_an_action_stays_text(tmp_path: Path) -> None:
    """In variables of the user's."""
    resources = render_all(parse_apps(TRICKY, "headrace.yaml"), OPTIONS)
    folder = written(helm("tricky", resources, OPTIONS), tmp_path)
    assert installed(folder) == sorted(resources, key=place)


def test_values_reach_and_wrong_ones_are_refused(pictures: Path, tmp_path: Path) -> None:
    """The image everywhere; a misspelt key is an error."""
    resources = render_all(load_apps(pictures, None), OPTIONS)
    folder = written(helm("pictures", resources, OPTIONS), tmp_path)
    images = [
        one["image"]
        for each in installed(folder, image="mine:7")
        if each["kind"] == "Deployment"
        for one in each["spec"]["template"]["spec"]["containers"]
    ]
    assert images == ["mine:7"]
    with pytest.raises(Exception, match="imagee"):
        chart.Chart.load(folder).validate_schema({"imagee": "x"})
