"""kill -9 in the middle of the stream: nothing is lost, nothing is answered twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from itertools import cycle, islice
from typing import TYPE_CHECKING

import psutil
import pytest

from headrace.testing.app import AppRunner, running_app, until

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = 200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def answered(app: AppRunner) -> Counter[str]:
    """How many committed answers each event has."""
    return Counter(event.get("causationid") for event in app.read("pictures.labels"))


def pids(app: AppRunner, part: str) -> list[int]:
    """Process ids of a service's replicas, or of a dispatcher."""
    status = app.status()
    replicas = [r["pid"] for s in status["services"] if s["name"].endswith(part) for r in s["replicas"]]
    workloads = [w["pid"] for w in status["workloads"] if w["name"].endswith(part) and w["pid"]]
    return replicas + workloads


def kill(app: AppRunner, part: str) -> None:
    """Kill -9 every process of a part."""
    for pid in until(lambda: pids(app, part), f"{part} runs"):
        os.kill(pid, signal.SIGKILL)


def test_dispatcher_and_predictor_die_in_the_middle(tmp_path: Path, example: Path, small_pictures: list[Path]) -> None:
    """200 pictures, the dispatcher and the predictor killed while they work: 200 distinct answers, none lost."""
    files: list[Path] = []
    for number, path in enumerate(islice(cycle(small_pictures), EVENTS)):
        copy = tmp_path / f"{number:03}{path.suffix}"
        copy.write_bytes(path.read_bytes())
        files.append(copy)
    home = tmp_path / "home"
    home.mkdir()
    with running_app(example, home) as app:
        ids = set(app.publish("pictures", *files).values())
        for share, part in ((0.1, "dispatcher"), (0.3, "predictor"), (0.5, "dispatcher"), (0.7, "transformer")):
            until(lambda share=share: len(answered(app)) >= share * EVENTS, f"{share:.0%} are answered")  # type: ignore[misc]  # binds the loop's value
            kill(app, part)
        until(lambda: len(answered(app)) >= EVENTS, "all are answered")
        assert answered(app) == Counter(ids), "one answer each, and no other"
        assert {event.type for event in app.read("pictures.labels")} == {"dev.headrace.inference.result.v1"}
        assert app.read("pictures.dead-letters") == []
        results = [event.id for event in app.read("pictures.labels")]
        assert len(set(results)) == EVENTS


def test_the_broker_dies_and_comes_back(tmp_path: Path, example: Path, small_pictures: list[Path]) -> None:
    """Kill -9 of the embedded broker: what was acknowledged is there, and every picture gets its one answer."""
    home = tmp_path / "home"
    home.mkdir()
    with running_app(example, home) as app:
        ids = list(app.publish("pictures", *small_pictures).values())
        until(lambda: len(answered(app)) >= 1, "the first is answered")
        (broker,) = [child for child in psutil.Process(app.pid).children() if "broker" in child.cmdline()]
        broker.kill()
        ids += app.publish("pictures", *small_pictures).values()
        until(lambda: len(answered(app)) >= len(ids), "all are answered")
        assert answered(app) == Counter(ids)
