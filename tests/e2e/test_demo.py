"""`headrace demo`: the first thing a new user runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.cli.demo_run import APP
from headrace.manifests.loading import load_apps, parse_apps

EXAMPLE = Path(__file__).parents[2] / "examples" / "pictures" / "headrace.yaml"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run_demo(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`headrace demo`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "headrace.cli.main", "demo", *words],
        env={**os.environ, "HEADRACE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def names(tree: list[dict[str, object]]) -> set[str]:
    """Names of all spans."""
    found = {str(node["name"]) for node in tree}
    for node in tree:
        children = node["children"]
        assert isinstance(children, list)
        found |= names(children)
    return found


def test_the_demo_as_json(tmp_path: Path) -> None:
    """Every picture answered, the known ones right, the cold start in the trace, and no replica left."""
    done = run_demo(tmp_path, "--output", "json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    labels = {picture["picture"]: picture["label"] for picture in facts["pictures"]}
    assert len(labels) >= 20
    assert all(labels.values())
    assert labels["coffee.png"] == "espresso"
    assert "cat" in labels["chelsea.png"]
    assert labels["rocket.jpg"] in ("missile", "projectile")
    assert facts["latency_ms"]["warm_alone"] < facts["latency_ms"]["cold_first"]
    assert {"cold start", "infer", "publish pictures.labels"} <= names(facts["trace"])
    assert facts["back_at_zero_seconds"] > 0
    used = facts["usage"]
    assert used["ended"] == used["replicas"] >= 2, "transformer and predictor have come and gone"
    assert used["total"]["seconds"] == pytest.approx(used["replica_seconds"], rel=0.001)
    assert used["total"]["events"] == 2 * len(labels) + 1
    assert not (tmp_path / "demo" / "state.json").exists(), "nothing runs any more"


def test_the_demo_is_the_example() -> None:
    """The demo's app and the example's have the same classes and topics: what is shown is what is taught."""
    (demo,), (example,) = parse_apps(APP, "demo"), load_apps(EXAMPLE)
    assert (demo.name, demo.namespace, demo.result_topic) == (example.name, example.namespace, example.result_topic)
    assert demo.spec.predictor.class_path == example.spec.predictor.class_path
    assert demo.spec.transformer is not None
    assert example.spec.transformer is not None
    assert demo.spec.transformer.class_path == example.spec.transformer.class_path
