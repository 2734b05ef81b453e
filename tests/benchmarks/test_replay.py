"""The benchmark of replay runs, and says what it says it does; how fast is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_run_has_every_number(tmp_path: Path) -> None:
    """Live dispatch and a replay of the same events: rate, CPU and memory of both, and none answered twice."""
    found = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.replay", "--events", "3000", "--batch", "8", "--json", str(found)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ways = json.loads(found.read_text())["ways"]["echo"]
    assert ways.keys() == {"live", "replay"}
    for one in ways.values():
        assert (one["distinct"], one["twice"]) == (3000, 0)
        assert {"events_per_second", "cpu_ms", "broker_cpu_ms", "server_cpu_ms", "memory_mib"} <= one.keys()
        assert one["memory"]
    assert [row.split()[:2] for row in done.stdout.splitlines()[1:]] == [["echo", "live"], ["echo", "replay"]]
