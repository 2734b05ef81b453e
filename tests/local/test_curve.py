"""Zero, one, three, zero under a scripted load: the decisions, the printed curve, and the PNG."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tests.local.conftest import component, inference_service, running

from headrace.cli.plot import HEIGHT, WIDTH, draw
from headrace.errors import ConfigurationError
from headrace.local.curve import curve, steps, told
from headrace.local.decisions import Decision

if TYPE_CHECKING:
    from pathlib import Path


def decision(time: float, before: int, asked: int, current: int = 0) -> Decision:
    """A decision with the numbers that a chart shows."""
    return Decision(
        time, current, current, 2.8, current, 0, before, asked, asked, before, panicking=asked > 2, excess=-1, why="w"
    )


DAY = [
    decision(100, 0, 1, 1),
    decision(102, 1, 3, 12),
    decision(104, 3, 3, 12),
    decision(106, 3, 1, 0),
    decision(110, 1, 0, 0),
]


def test_the_curve_is_printed() -> None:
    """Replicas as columns, requests below them, the time from left to right."""
    lines = curve(DAY, width=11)
    assert lines[0] == "   3 |  ████"
    assert lines[2] == "   1 |██████████"
    assert lines[4].strip() == "▁▁████" or lines[4].startswith("      ▁▁████")
    assert lines[5].endswith("(at most 12), over 10 s")
    assert [(step.before, step.asked) for step in steps(DAY)] == [(0, 1), (1, 3), (3, 1), (1, 0)]
    assert told(DAY[1], 100).split() == ["2.0", "s", "1", "->", "3", "w"]


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    """A PNG with a panel a service, in which something is drawn; another ending is refused with the remedy."""
    file = tmp_path / "curve.png"
    draw({"vision/labels-predictor": DAY, "vision/labels-transformer": DAY}, file)
    with Image.open(file) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, 2 * HEIGHT))
        colours = image.getcolors(maxcolors=100_000)
        assert colours is not None
        assert len(colours) > 5
    with pytest.raises(ConfigurationError, match=r"is no \.png"):
        draw({"a/b": DAY}, tmp_path / "curve.pdf")


@pytest.mark.timeout(180)
def test_zero_one_three_zero_as_a_person_sees_it(home: Path, tmp_path: Path) -> None:
    """Real processes by Knative's rules: one request, then twelve at a limit of four; ``status --plot`` explains it."""
    knative = {"autoscaling.knative.dev/window": "6s"}
    part = component(containerConcurrency=4, maxReplicas=3, annotations=knative)
    file = tmp_path / "curve.png"

    async def scenario() -> str:
        async with running(home, inference_service(predictor=part)) as up:
            await up.ask()
            assert up.twin.status().services[0].desired == 1
            asked = [asyncio.ensure_future(up.ask("/?delay=3")) for _ in range(12)]
            await up.until(lambda: len(up.kinds("ready")) == 3, 60)
            names = {answer["name"] for answer in await asyncio.gather(*asked)}
            assert len(names) >= 1
            await up.until(lambda: not up.twin.status().services[0].replicas, 60)
            return await asyncio.to_thread(_status, home, file)

    printed = asyncio.run(scenario())
    assert "   3 |" in printed
    changes = [line.split("   ")[-2].strip() for line in printed.splitlines() if " -> " in line and " s   " in line]
    assert changes[0] == "0 -> 1"
    assert changes[-1].endswith("-> 0")
    assert any(change.endswith("-> 3") for change in changes)
    assert all(" / 2.8 -> " in line for line in printed.splitlines() if " s   " in line and "-> 3" in line)
    with Image.open(file) as image:
        assert image.size == (WIDTH, HEIGHT)


def _status(home: Path, file: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "headrace.cli.main", "status", "--plot", str(file)],
        env={**os.environ, "HEADRACE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
