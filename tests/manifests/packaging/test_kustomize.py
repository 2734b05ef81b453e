"""The kustomize base and its overlays: what they build is what is rendered."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.manifests.loading import load_apps, parse_apps
from headrace.manifests.options import RenderOptions, default_image
from headrace.manifests.packaging.files import identity
from headrace.manifests.packaging.kustomize import json_patch, kustomize
from headrace.manifests.profiles import with_profile
from headrace.manifests.rendering import render_all
from headrace.manifests.spec import InferenceApp

from ..specs import documents  # noqa: TID252  # tests are no package, and have no absolute name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.manifests.packaging.files import Files
    from headrace.manifests.resource import Resource

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
APPS = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: one, namespace: lab, labels: {team: blue}}
spec:
  predictor: {class: "a:B", model: "s3://b/m", cache: {size: 1Gi, nodeGroups: [gpus]}, env: {A: "yes"}}
  trigger: {topic: in.one, delivery: knative-broker}
  results: {topic: in-one.out}
profiles:
  plain: {spec: {trigger: {delivery: headrace}, predictor: {cache: null, env: null}}, labels: {team: null, a/b: c}}
---
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: two, namespace: lab}
spec:
  predictor: {class: "a:B", nodes: {tolerations: [{key: x}]}}
  transformer: {class: "a:C", collocated: true}
  trigger: {topic: in_two}
"""
PROFILES = ("dev", "gpu", "prod", "plain")


def by_identity(resources: Iterable[Resource]) -> dict[Any, Resource]:
    """Resources by what a cluster knows them by; none twice."""
    found = [(identity(each), each) for each in resources]
    assert len(dict(found)) == len(found)
    return dict(found)


def applied(document: Any, operations: Iterable[dict[str, Any]]) -> Any:
    """What a JSON patch makes of a document (RFC 6902: add, remove and replace in mappings)."""
    top = {"": copy.deepcopy(document)}
    for operation in operations:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")]
        place: Any = top
        for step in steps[:-1]:
            place = place[step]
        if operation["op"] == "remove":
            del place[steps[-1]]
        else:
            assert (steps[-1] in place) == (operation["op"] == "replace")
            place[steps[-1]] = operation["value"]
    return top[""]


def built(files: Files, overlay: str) -> list[Resource]:
    """What kustomize makes of an overlay, by the few rules that we use."""
    folder = f"overlays/{overlay}"
    top = yaml.safe_load(files[f"{folder}/kustomization.yaml"])
    base = yaml.safe_load(files["base/kustomization.yaml"])
    found = by_identity(yaml.safe_load(files[f"base/{name}"]) for name in base["resources"])
    for patch in top.get("patches", ()):
        content, target = yaml.safe_load(files[f"{folder}/{patch['path']}"]), patch.get("target")
        if target is None:
            assert content["$patch"] == "delete"
            del found[identity(content)]
        else:
            name = target["name"].replace("\\", "")
            key = (target.get("group", ""), target["kind"], target.get("namespace", ""), name)
            found[key] = applied(found[key], content)
    assert top["resources"][0] == "../../base"
    return [*found.values(), *(yaml.safe_load(files[f"{folder}/{name}"]) for name in top["resources"][1:])]


@pytest.fixture(scope="module", params=["pictures", "several"])
def case(request: pytest.FixtureRequest, pictures: Path) -> tuple[Files, dict[str, list[Resource]]]:
    """The files, and the resources of each profile: of the example, and of apps that use much of the spec."""
    several = request.param == "several"
    profiles = PROFILES if several else PROFILES[:3]
    wanted = {
        profile: render_all(parse_apps(APPS, "f", profile) if several else load_apps(pictures, profile))
        for profile in profiles
    }
    base = render_all(parse_apps(APPS, "f") if several else load_apps(pictures))
    return kustomize(base, wanted), {"": base, **wanted}


def test_an_overlay_holds_what_the_profile_renders(case: tuple[Files, dict[str, list[Resource]]]) -> None:
    """Base, what is added, what is changed and what goes: together the very resources of `render --profile`."""
    files, wanted = case
    for profile, resources in wanted.items():
        if profile:
            assert by_identity(built(files, profile)) == by_identity(resources)


@needs_kubectl
def test_kubectl_builds_base_and_overlays(case: tuple[Files, dict[str, list[Resource]]], tmp_path: Path) -> None:
    """Plain kustomize builds them, without a plugin, to the same resources."""
    files, wanted = case
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for profile, resources in wanted.items():
        folder = tmp_path / ("overlays" if profile else "base") / profile
        done = subprocess.run(
            [str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert by_identity(yaml.safe_load_all(done.stdout)) == by_identity(resources)


@needs_kubectl
@pytest.mark.parametrize("example", ["audio", "pictures", "text"])
def test_kubectl_builds_the_committed_examples(example: str) -> None:
    """Whoever clones the repository applies a folder of manifests/kustomize and gets what the profile renders."""
    root, options = Path(__file__).parents[3], RenderOptions(image=default_image())
    for profile in PROFILES[:3]:
        folder = root / "manifests/kustomize" / example / "overlays" / profile
        done = subprocess.run(
            [str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        wanted = render_all(load_apps(root / f"examples/{example}/headrace.yaml", profile), options)
        assert by_identity(yaml.safe_load_all(done.stdout)) == by_identity(wanted)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_any_apps_overlay_holds_what_the_profile_renders(document: dict[str, Any]) -> None:
    """Whatever the spec allows."""
    app = InferenceApp.model_validate(document)
    wanted = {profile: render_all([with_profile(app, profile)]) for profile in PROFILES[:3]}
    files = kustomize(render_all([app]), wanted)
    for profile, resources in wanted.items():
        assert by_identity(built(files, profile)) == by_identity(resources)


def test_the_cases_add_change_and_remove(pictures: Path) -> None:
    """The tests above would say little of overlays that only patch."""
    base, plain = (by_identity(render_all(parse_apps(APPS, "f", profile))) for profile in (None, "plain"))
    assert base.keys() - plain.keys()
    assert plain.keys() - base.keys()
    assert [key for key in base.keys() & plain.keys() if base[key] != plain[key]]
    assert len(render_all(load_apps(pictures, "prod"))) > len(render_all(load_apps(pictures)))


def test_a_patch_hits_its_own_resource_alone() -> None:
    """Target names are regular expressions: `in.one` must not match `in-one`."""
    top = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic", "spec": {"partitions": 1}}
    before = [{**top, "metadata": {"name": name, "namespace": "k", "labels": {}}} for name in ("in.one", "in-one")]
    after = [{**before[0], "spec": {"partitions": 2}}, before[1]]
    (patch,) = yaml.safe_load(kustomize(before, {"x": after})["overlays/x/kustomization.yaml"])["patches"]
    assert patch["target"] == {
        "group": "kafka.strimzi.io", "version": "v1", "kind": "KafkaTopic", "name": r"in\.one", "namespace": "k",
    }  # fmt: skip


values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "1"]),
    lambda below: (
        st.lists(below, max_size=2) | st.dictionaries(st.sampled_from(["a", "b/c", "d~e"]), below, max_size=3)
    ),
    max_leaves=8,
)


@given(values, values)
def test_a_patch_makes_the_new_of_the_old(old: Any, new: Any) -> None:
    """Whatever differs, also in type alone (1 and true), and not a step where nothing does."""
    found = applied(old, json_patch(old, new))
    assert repr(found) == repr(new) or yaml.safe_dump(found) == yaml.safe_dump(new)
    assert not list(json_patch(new, new))
