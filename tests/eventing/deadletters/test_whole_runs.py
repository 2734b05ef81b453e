"""``headrace dead-letters`` as processes of their own: what a shell sees, and what a killed run leaves."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Letters = Any

COMMAND = [sys.executable, "-m", "headrace.cli.main", "dead-letters"]


@pytest.fixture
def around(letters: Letters, tmp_path: Path) -> Mapping[str, str]:
    """The environment of a command."""
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": letters.kafka, "HEADRACE_HOME": str(tmp_path)}


def run(around: Mapping[str, str], *words: str) -> str:
    """What the command prints."""
    done = subprocess.run([*COMMAND, *words], env=around, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_command_is_a_program(letters: Letters, around: Mapping[str, str]) -> None:
    """Show one, drop it, list the others: each command alone, in a process that knows Kafka only."""
    letters.add(1, 2, 3)
    topic = ("--topic", letters.name)
    assert "it hurts" in run(around, "show", "e2", *topic)
    assert "1 dropped" in run(around, "drop", "e2", *topic)
    listed = run(around, "list", *topic)
    assert ("e1" in listed, "e2" in listed) == (True, False)


def test_kill_9_at_any_point_sends_nothing_twice(letters: Letters, around: Mapping[str, str]) -> None:
    """300 letters, the command killed at a random moment and given again: each letter once, none lost."""
    letters.add(*range(300))
    words = ["redrive", "--topic", letters.name]
    process = subprocess.Popen([*COMMAND, *words, "--rate", "250/s"], env=around, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    # Begun: something of this run is committed. Then anywhere in the next transactions.
    while process.poll() is None and not letters.ids() and time.monotonic() < deadline:
        time.sleep(0.01)
    pause = time.monotonic() + random.uniform(0, 0.5)
    while process.poll() is None and time.monotonic() < pause:
        time.sleep(0.005)
    process.kill()
    process.wait()
    before = len(letters.ids())
    assert 0 < before < 300, "it was killed in its middle"
    told = json.loads(run(around, *words, "--output", "json"))
    assert Counter(letters.ids()) == Counter(f"e{number}" for number in range(300))
    assert (told["redriven"], told["already"]) == (300 - before, before)
