"""`headrace render` and `headrace schema`, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import yaml

from headrace.manifests.loading import load_apps
from headrace.manifests.options import RenderOptions, default_image
from headrace.manifests.rendering import render

if TYPE_CHECKING:
    from pathlib import Path


def headrace(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    command = [sys.executable, "-m", "headrace.cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_render_prints_the_manifests(pictures: Path, tmp_path: Path) -> None:
    """Standard output holds YAML alone, ready for kubectl; what is left to do is said beside it."""
    done = headrace("render", "-f", str(pictures), cwd=tmp_path)
    assert done.returncode == 0
    wanted = render(load_apps(pictures)[0], RenderOptions(image=default_image()))
    assert list(yaml.safe_load_all(done.stdout)) == wanted
    assert "is a placeholder; name your image with --image" in done.stderr


def test_render_writes_one_file_a_resource(pictures: Path, tmp_path: Path) -> None:
    """With -o the same resources come as files; an image given is in them, and nothing is left to note."""
    done = headrace("render", "-f", str(pictures), "-o", "out/k8s", "--image", "me/it:1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    files = sorted((tmp_path / "out/k8s").glob("*.yaml"))
    wanted = render(load_apps(pictures)[0], RenderOptions(image="me/it:1"))
    found = {path.name: yaml.safe_load(path.read_text()) for path in files}
    assert found["vision.inferenceservice.picture-labels.yaml"] in wanted
    assert len(found) == len(wanted)
    assert all(each in wanted for each in found.values())
    assert "placeholder" not in done.stderr


def test_render_for_another_kafka_says_who_makes_the_topics(pictures: Path, tmp_path: Path) -> None:
    """Without Strimzi no KafkaTopic is rendered, and that is said."""
    done = headrace("render", "-f", str(pictures), "--kafka", "k.example.com:9092", cwd=tmp_path)
    assert done.returncode == 0
    assert "kind: KafkaTopic" not in done.stdout
    assert "value: k.example.com:9092" in done.stdout
    assert "no topics are rendered" in done.stderr


def test_mistakes_are_wrong_usage_without_a_traceback(pictures: Path, tmp_path: Path) -> None:
    """Exit code 2, every mistake, nothing on standard output: for the file, the address and the folder."""
    (tmp_path / "headrace.yaml").write_text(pictures.read_text().replace("min: 0", "min: -1"))
    (tmp_path / "taken").touch()
    for arguments, part in [
        ([], "spec.transformer.scale.min: -1: must be 0 or more"),
        (["-f", "none.yaml"], "none.yaml does not exist"),
        (["-f", str(pictures), "--kafka", "nowhere"], "--kafka 'nowhere' is no list of HOST:PORT"),
        (["-f", str(pictures), "-o", "taken"], "taken cannot be written"),
        (["-f", str(pictures), "--format", "hlem"], "--format 'hlem' is unknown"),
        (["-f", str(pictures), "--format", "helm"], "name a folder for them with -o"),
        (["-f", str(pictures), "--format", "kustomize", "-o", "x", "--profile", "dev"], "remove --profile"),
    ]:
        done = headrace("render", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert part in done.stderr
        assert "Traceback" not in done.stderr


def test_a_profile_is_rendered(pictures: Path, tmp_path: Path) -> None:
    """What is printed is the app under the profile; an unknown one is named with those that there are."""
    done = headrace("render", "-f", str(pictures), "--profile", "gpu", "--image", "me/it:1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    wanted = render(load_apps(pictures, "gpu")[0], RenderOptions(image="me/it:1"))
    assert list(yaml.safe_load_all(done.stdout)) == wanted
    done = headrace("render", "-f", str(pictures), "--profile", "prd", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no profile 'prd'; did you mean prod?" in done.stderr


def test_kustomize_and_helm_are_written(pictures: Path, tmp_path: Path) -> None:
    """A base with an overlay a profile, and a chart under the profile asked for."""
    (tmp_path / "headrace.yaml").write_text(pictures.read_text() + "profiles: {small: {spec: {}}}\n")
    assert headrace("render", "--format", "kustomize", "-o", "k", cwd=tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "k/overlays").iterdir()} == {"dev", "gpu", "prod", "small"}
    assert headrace("render", "--format", "helm", "--profile", "prod", "-o", "h", cwd=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "h/Chart.yaml").read_text())["name"] == "picture-labels"
    assert (tmp_path / "h/templates/vision.networkpolicy.picture-labels-predictor.yaml").exists()


def test_what_went_is_not_left_in_the_folder(pictures: Path, tmp_path: Path) -> None:
    """A file of the last time whose resource went goes too; files of others stay, whatever the list says."""
    folder = tmp_path / "out"
    assert headrace("render", "-f", str(pictures), "--profile", "prod", "-o", "out", cwd=tmp_path).returncode == 0
    (folder / "mine.yaml").write_text("mine: true\n")
    (tmp_path / "outside.yaml").touch()
    with (folder / ".headrace-files").open("a") as known:
        known.write("../outside.yaml\n")
    before = {path.name for path in folder.glob("*.yaml")}
    assert headrace("render", "-f", str(pictures), "-o", "out", cwd=tmp_path).returncode == 0
    after = {path.name for path in folder.glob("*.yaml")}
    assert after < before
    assert "mine.yaml" in after
    assert len(after) == len(render(load_apps(pictures)[0])) + 1
    assert (tmp_path / "outside.yaml").exists()


def test_schema_prints_the_schema(tmp_path: Path) -> None:
    """An editor can read what is printed."""
    done = headrace("schema", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["$defs"]["Trigger"]["properties"]["topic"]["description"]
