"""An app up in the test's own process: the fixtures that users get, on a small app of a user."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ConfigurationError, HeadraceError
from headrace.testing.app_thread import app_in_thread

if TYPE_CHECKING:
    from pathlib import Path

_MODEL = """
from kserve import Model

class Doubles(Model):
    def load(self):
        self.ready = True
        return True
    def predict(self, payload, headers=None):
        return {"predictions": [2 * number for number in payload["instances"]]}
"""
_APP = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: doubles, namespace: sums}
spec:
  predictor: {class: "model.py:Doubles", scale: {min: 0, idle: 10m}}
  trigger: {topic: numbers}
  results: {topic: doubled}
"""
_TESTS = """
import json
import pytest
from headrace.errors import HeadraceError

pytest_plugins = ["headrace.testing.pytest_plugin"]

def test_it(headrace_app, headrace_broker, headrace_clock, tmp_path):
    assert headrace_app.replicas() == {"doubles-predictor": 0}
    file = tmp_path / "four.json"
    file.write_text(json.dumps({"instances": [4]}))
    (event_id,) = headrace_app.publish("numbers", file).values()
    answer = headrace_app.answers("doubled", event_id)[event_id]
    assert json.loads(answer.data) == {"predictions": [8]}
    assert headrace_app.post("doubles", "/v1/models/doubles:predict", {"instances": [1, 2]}) == {"predictions": [2, 4]}
    with pytest.raises(HeadraceError, match="answered 404"):
        headrace_app.post("doubles", "/v1/models/other:predict", {"instances": []})
    with pytest.raises(HeadraceError, match="no app 'halves'"):
        headrace_app.post("halves", "/", {})
    assert headrace_app.state()["kafka"] == headrace_broker
    assert headrace_app.replicas() == {"doubles-predictor": 1}
    headrace_app.until_zero(headrace_clock)
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_fixtures_run_a_users_app(tmp_path: Path) -> None:
    """Up on the tests' broker, asked by event and over HTTP, and at zero when the clock is put forward: no wait."""
    for name, text in {
        "model.py": _MODEL,
        "headrace.yaml": _APP,
        "test_it.py": _TESTS,
        "pytest.ini": "[pytest]",
    }.items():
        (tmp_path / name).write_text(text)
    around = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout


def test_a_wrong_file_is_told_before_anything_starts(tmp_path: Path) -> None:
    """As ``headrace up`` tells it."""
    (tmp_path / "headrace.yaml").write_text("kind: Nothing\n")
    with pytest.raises(ConfigurationError, match="kind"), app_in_thread(tmp_path / "headrace.yaml", tmp_path / "home"):
        pass
    with pytest.raises(HeadraceError), app_in_thread(tmp_path / "none.yaml", tmp_path / "home"):
        pass
