"""Telemetry under load, and what it costs: the benchmarks run, and say what they say they do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What a benchmark prints."""
    command = [sys.executable, "-m", f"benchmarks.telemetry{module}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.timeout(220)
@pytest.mark.parametrize("batch", ["16", "1"])
def test_every_event_has_its_one_trace_under_load(batch: str) -> None:
    """With retries and a cold start, singly and in batches: no orphan, nothing mixed, at a receiver of somebody else's.

    By hand with more: ``python -m benchmarks.telemetry.load --events 10000``.
    """
    done = run(".load", "--events", "200", "--batch", batch)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["traces"], found["orphans"], found["mixed"], found["incomplete"]) == (200, 0, 0, 0)
    assert found["retries"] >= 10
    assert found["waited"] > 0
    assert (found["requests"] > 0) is (batch == "16")


@pytest.mark.timeout(220)
def test_a_short_run_has_every_number(tmp_path: Path) -> None:
    """Each mode, singly and in batches; spans leave as many as the sampling says."""
    path = tmp_path / "found.json"
    done = run("", "--events", "20", "--rounds", "1", "--looks", "3", "--json", str(path))
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert set(found["ways"]) == {"single", "batches of 16"}
    for modes in found["ways"].values():
        assert modes["off"]["spans"] == modes["unsampled"]["spans"] == modes["unsampled, watched"]["spans"] == 0
        assert modes["sampled 100 %"]["spans"] > 10
    assert found["calls"]["off"]["over_off_us"] == 0
    assert "sampled 100 %" in done.stdout
