"""The README is true: its files are the example's, and its commands run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.cli.demo_pictures import sample_pictures
from headrace.testing.app import AppRunner, running_app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.timeout(300)


def commands(heading: str) -> list[str]:
    """The commands of a section's console blocks; a continued line is one command."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, flags=re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", "")
    return [line[2:].split("  #")[0].strip() for line in joined.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("name", ["predictor.py", "transformer.py", "headrace.yaml"])
def test_the_files_shown_are_the_examples(name: str) -> None:
    """Each file that the README shows is that of examples/warmth, to the letter, and short."""
    content = (ROOT / "examples" / "warmth" / name).read_text(encoding="utf-8")
    assert f"\n{content.rstrip()}\n```" in README
    assert len(content.splitlines()) <= 22


def test_the_two_commands_are_makes() -> None:
    """The README's two commands are targets of the Makefile, and CI runs the second."""
    assert [command.split()[1] for command in commands("Two commands")] == ["demo", "test"]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def run(app: AppRunner, folder: Path, line: str) -> str:
    """Run a line of the README in a shell beside the app; its output."""
    port = app.state()["ingress"].rpartition(":")[2]
    line = line.replace(".venv/bin/headrace", f"{sys.executable} -m headrace.cli.main").replace(":8080", f":{port}")
    line = line.replace("examples/", f"{ROOT}/examples/")
    environment = {**os.environ, "HEADRACE_HOME": str(app.home)}
    shell = ["bash", "-c", line]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's calls need curl")
def test_use_it(tmp_path: Path) -> None:
    """Every command of "Use it" does what the README says, with a picture called some.jpg."""
    (tmp_path / "some.jpg").write_bytes(next(p for p in sample_pictures() if p.name == "rocket.jpg").read_bytes())
    home = tmp_path / "home"
    home.mkdir()
    up, publish, results, follow, trace, status, *rest = commands("Use it")
    audit, letters, redrive, record, replay, binary, v1_file, v1, v2_file, v2, render = rest
    assert up.endswith("up -f examples/pictures/headrace.yaml")
    assert follow.endswith("results --follow")
    with running_app(ROOT / "examples" / "pictures" / "headrace.yaml", home) as app:
        event_id = run(app, tmp_path, publish).split()[0]
        app.answers("pictures.labels", event_id)
        assert "missile" in run(app, tmp_path, results)
        assert "publish pictures" in run(app, tmp_path, trace.replace("ID", event_id))
        assert "picture-labels-predictor" in run(app, tmp_path, status)
        assert "pictures: 1 events" in run(app, tmp_path, audit)
        run(app, tmp_path, letters)
        assert "0 redriven" in run(app, tmp_path, redrive)
        assert "1 events of pictures" in run(app, tmp_path, record)
        assert "1 answered, 0 failed" in run(app, tmp_path, replay)
        assert "missile" in run(app, tmp_path, binary)
        run(app, tmp_path, v1_file)
        assert "missile" in run(app, tmp_path, v1)
        run(app, tmp_path, v2_file)
        assert "missile" in run(app, tmp_path, v2)
        assert "kind: InferenceService" in run(app, tmp_path, render)


@pytest.mark.slow
def test_a_model_of_your_own(tmp_path: Path) -> None:
    """The three files of the README, in a folder of their own, answer a picture."""
    project, home = tmp_path / "project", tmp_path / "home"
    shutil.copytree(ROOT / "examples" / "warmth", project)
    home.mkdir()
    up, publish, _ = commands("A model of your own")
    assert "examples/warmth" in up
    with running_app(project / "headrace.yaml", home) as app:
        shutil.copy(next(p for p in sample_pictures() if p.name == "rocket.jpg"), project / "some.jpg")
        event_id = run(app, project, publish).split()[0]
        answer = app.answers("photos.warmth", event_id)[event_id]
    assert b'"cool"' in (answer.data or b""), "a rocket before a blue sky"
