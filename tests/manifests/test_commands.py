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
    files = sorted((tmp_path / "out/k8s").iterdir())
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
    ]:
        done = headrace("render", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert part in done.stderr
        assert "Traceback" not in done.stderr


def test_schema_prints_the_schema(tmp_path: Path) -> None:
    """An editor can read what is printed."""
    done = headrace("schema", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["$defs"]["Trigger"]["properties"]["topic"]["description"]
