"""A user's mistakes at the command line: a message that names the thing and the remedy, no traceback, in no time."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headrace.testing.app import running_app, until

if TYPE_CHECKING:
    from pathlib import Path

THREE_MISTAKES = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: Picture_Labels}
spec:
  predictor: {class: my.models:Model, batching: {maxsize: 8}}
  trigger: {topic: pictures, ordering: keys}
"""


def headrace(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", "headrace.cli.main", *words],
        env={**os.environ, "HEADRACE_HOME": str(home / "home")},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["up", "render"])
def test_three_mistakes_are_named_at_once(tmp_path: Path, command: str) -> None:
    """A headrace.yaml with three mistakes: all three, each with its path and a hint, exit code 2."""
    (tmp_path / "headrace.yaml").write_text(THREE_MISTAKES)
    done = headrace(tmp_path, command, "-f", "headrace.yaml")
    assert done.returncode == 2
    assert "headrace.yaml has 3 mistakes" in done.stderr
    for part in ("metadata.name", "maxSize", "spec.trigger.ordering"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["up", "-f", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["publish", "--topic", "t"], "Nothing to publish"),
        (["publish", "--topic", "t", "nowhere.jpg"], "Cannot read nowhere.jpg"),
        (["results"], "Which topic?"),
        (["trace", "x"], "No traces at"),
        (["status"], "Nothing is up"),
        (["down"], "Nothing is up"),
        (["pause", "a"], "Nothing is up"),
        (["resume", "a"], "Nothing is up"),
        (["logs"], "No logs"),
        (["dispatch", "-f", "nowhere.yaml", "--app", "a"], "nowhere.yaml does not exist"),
    ],
)
def test_each_command_says_what_is_wrong(tmp_path: Path, words: list[str], says: str) -> None:
    """What is missing is named, the exit code is not 0, and there is no traceback."""
    done = headrace(tmp_path, *words)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["publish", "--topic", "t", "a.txt"], ["results", "--topic", "t"]])
def test_no_broker(tmp_path: Path, words: list[str]) -> None:
    """With nobody at the address, a command ends within its connection timeout and names the address."""
    (tmp_path / "a.txt").write_text("a")
    done = headrace(tmp_path, *words, "--kafka", "127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no.such.module:Model", "no.such.module"),
        ("json:JSONDecoder", "JSONDecoder"),
        ("broken.py:Model", "broken.py"),
        ("Model", "MODULE:CLASS"),
    ],
)
def test_a_class_that_does_not_load(tmp_path: Path, target: str, says: str) -> None:
    """`headrace serve` with a class that does not import, or is no model: one line with the name, exit code not 0."""
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    done = headrace(
        tmp_path,
        "serve",
        "--class",
        target,
        "--name",
        "m",
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--host",
        "127.0.0.1",
    )
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_app_whose_class_does_not_import(tmp_path: Path) -> None:
    """The event is not lost and nothing hangs: `headrace status` and the log say what is wrong with the class."""
    (tmp_path / "headrace.yaml").write_text(
        THREE_MISTAKES.replace("Picture_Labels", "labels").replace("maxsize", "maxSize").replace("keys", "key")
    )
    (tmp_path / "a.txt").write_text("a")
    with running_app(tmp_path / "headrace.yaml", tmp_path) as app:
        app.publish("pictures", tmp_path / "a.txt")
        problem = until(lambda: app.status()["services"][0]["problem"], "the problem is known")
        assert "my.models" in problem
        assert app.read("pictures.dead-letters") == [], "it waits for a class that loads"


@pytest.mark.parametrize("port", ["nine", "99999"])
def test_a_port_that_is_none(tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher that cannot serve its metrics names the variable and the value, and starts nothing."""
    mended = THREE_MISTAKES.replace("Picture_Labels", "labels").replace("maxsize", "maxSize").replace("keys", "key")
    (tmp_path / "headrace.yaml").write_text(mended)
    monkeypatch.setenv("HEADRACE_METRICS_PORT", port)
    where = ["-f", "headrace.yaml", "--app", "labels", "--kafka", "127.0.0.1:1", "--sink", "http://127.0.0.1:1"]
    done = headrace(tmp_path, "dispatch", *where)
    assert (done.returncode, f"HEADRACE_METRICS_PORT={port}" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr
