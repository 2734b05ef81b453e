"""The benchmark of the way of an event runs, and says what it says it does; how fast is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

NUMBERS = {"cpu_ms", "broker_cpu_ms", "events_per_second", "latency_ms"}
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_run_has_every_number(tmp_path: Path) -> None:
    """50 events: every contender that is installed, none of them losing or doubling one; a table, and an object."""
    found = tmp_path / "found.json"
    short = ["--events", "50", "--rounds", "1", "--warm-up", "5", "--alone", "2", "--transformer", "--json", str(found)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.eventing", *short],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(found.read_text())
    assert told["load"] == {
        "events": 50,
        "rounds": 1,
        "warm_up": 5,
        "partitions": 4,
        "size": 1024,
        "transformer": True,
        "keys": 0,
        "model": "echo",
        "alone": 2,
    }
    names = {"headrace", "headrace-batches", "kserve-loop"} | ({"faststream"} if find_spec("faststream") else set())
    assert told["contenders"].keys() == names
    for one in told["contenders"].values():
        assert (one["lost"], one["twice"], len(one["rounds"])) == (0, 0, 1)
        assert one["median"].keys() == one["rounds"][0].keys() == NUMBERS
        assert one["median"]["events_per_second"] > 0
    heading, *rows = done.stdout.splitlines()
    assert heading.split("  ")[0] == "contender"
    assert {row.split()[0] for row in rows} == names
    assert ("faststream takes no part" in done.stderr) == ("faststream" not in names)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_memory_of_a_lag_is_measured_while_it_is_there(tmp_path: Path) -> None:
    """3,000 events before a slow model: some are answered, most wait, and what the dispatcher holds is told."""
    found = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.eventing", "--lag", "3000", "--seconds", "2", "--json", str(found)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(found.read_text())
    assert told["lag"]["events"] == 3000
    assert 100 <= told["held"]["answered"] < 3000
    assert 10 < told["held"]["start_mib"] <= told["held"]["peak_mib"]
    assert done.stdout.startswith("dispatcher with 3,000 events")
