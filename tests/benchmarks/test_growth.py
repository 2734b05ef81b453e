"""The cases of the benchmark's table of growth, and the models that its contenders ask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.eventing.growth import steps, table
from benchmarks.eventing.models import CASES
from benchmarks.eventing.rounds import Load

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("size", [64, 1000, 1_000_000])
def test_an_event_s_data_is_as_large_as_asked_for(name: str, size: int) -> None:
    """JSON of that many bytes, whose text begins with the label."""
    data = CASES[name].data("round-0-7", size)
    (text,) = json.loads(data).values()
    assert len(data) == size
    assert (text if isinstance(text, str) else text[0]).startswith("round-0-7 ")


def test_each_step_changes_one_thing() -> None:
    """Partitions, keys, or the size with the number of events; 1, 4 and 16; 1 KB, 100 KB and 1 MB."""
    load = Load(events=1000)
    found = steps(load)
    assert [step.load.partitions for step in found[:3]] == [1, 4, 16]
    assert [step.load.keys for step in found[3:6]] == [1, 16, 1000]
    assert [(step.load.size, step.load.events) for step in found[6:]] == [(1000, 1000), (100_000, 100), (1_000_000, 10)]


def test_the_table_has_a_line_for_each_case_and_contender() -> None:
    """With the medians, and what was lost or doubled."""
    median = {"cpu_ms": 1.0, "broker_cpu_ms": 0.5, "events_per_second": 1234.0, "latency_ms": 7.0}
    cases = [
        {"case": case, "contender": who, "median": median, "lost": 0, "twice": 0}
        for case in ("1 KB", "1 MB")
        for who in ("headrace", "faststream")
    ]
    heading, *rows = table(cases).splitlines()
    assert heading.startswith("case  contender")
    assert [row.split()[:3] for row in rows[:2]] == [["1", "KB", "headrace"], ["1", "KB", "faststream"]]
    assert all(row.split()[-4:] == ["1,234", "7.0", "0", "0"] for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("more", [["--model", "minilm", "--size", "200"], ["--keys", "3"]])
def test_a_real_model_and_shared_keys(more: list[str], tmp_path: Path) -> None:
    """20 events through MiniLM and its transformer, or with three keys in order: each has its one result."""
    found = tmp_path / "found.json"
    short = ["--only", "headrace-batches", "--events", "20", "--rounds", "1", "--warm-up", "4", "--alone", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.eventing", *short, *more, "--json", str(found)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(found.read_text())
    assert (told["contenders"]["headrace-batches"]["lost"], told["contenders"]["headrace-batches"]["twice"]) == (0, 0)
    assert told["load"]["transformer"] == ("minilm" in more)
