"""kill -9 at ten random points of one run, resumed each time: the answers of an undisturbed run, to the id."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from headrace.eventing.codec.kafka import read_record
from headrace.eventing.event import new_event
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.eventing.replay.plan import Plan, Range, Runs
from headrace.eventing.replay.store import RunTopics
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.eventing.replay.conftest import Receiver

EVENTS = 600
KILLS = 10
PATIENCE = 120.0
"""Seconds for any one step."""
pytestmark = pytest.mark.timeout(400)
LIVES = """
import asyncio, os, sys
from pathlib import Path
from headrace.eventing.replay.plan import Runs
from headrace.eventing.replay.run import run

async def life(runs, name, kafka):
    return await run(runs.find(name), runs.folder(name), kafka, stop=asyncio.Event())

for line in sys.stdin:
    folder, name, kafka = line.split()
    child = os.fork()
    if not child:
        os._exit(0 if asyncio.run(life(Runs(Path(folder)), name, kafka)).complete else 1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Lives of runs, each in a process of its own that is forked from one that has imported everything: a life begins at
once, and dies as one of the command dies."""


class Lives:
    """Starts lives of runs, one at a time."""

    def __init__(self, folder: Path, kafka: str) -> None:
        self._line = f"{folder} {{}} {kafka}\n"
        command = [sys.executable, "-c", LIVES]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, run: str) -> int:
        """The process id of a new life."""
        assert self._process.stdin is not None
        self._process.stdin.write(self._line.format(run))
        self._process.stdin.flush()
        return self._said()

    def ended(self) -> int:
        """What the last life exited with; minus the signal that ended it."""
        return self._said()

    def close(self) -> None:
        """No more lives."""
        self._process.communicate(timeout=PATIENCE)

    def _said(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[str]:
    """A broker with a topic of events of a few keys."""
    with running_broker(tmp_path / "kafka") as bootstrap:
        create_topics(bootstrap, [TopicSpec("calls", 3), *RunTopics.beside("answers").specs()])
        attributes = {"specversion": "1.0", "source": "/s", "type": "t"}
        events = [
            new_event({**attributes, "id": str(n), "partitionkey": f"k{n % 7}"}, b"call %d" % n) for n in range(EVENTS)
        ]
        with Publisher(bootstrap) as publisher:
            publisher.publish("calls", events)
        yield bootstrap


def answers(kafka: str, run: str) -> list[tuple[str, bytes | None]]:
    """Ids and data of the committed answers of a run."""
    events = [read_record(record, namespace="", name="") for record in read_topic(kafka, "answers") if record]
    return sorted((event.id, event.data) for event in events if event.get("hrreplay") == run)


def test_ten_kills_change_no_answer(kafka: str, receiver: Receiver, tmp_path: Path) -> None:
    """Whole, and killed ten times: the same ids with the same data, each once."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it with a failure
    dice, runs = random.Random(seed), Runs(tmp_path / "replays")  # when to kill, no secret
    ranges = tuple(Range("calls", number, 0, EVENTS) for number in range(3))
    whole = Plan(
        "whole", receiver.url, ranges=ends(kafka, ranges), results_topic="answers", ordering="key", concurrency=4
    )
    runs.keep(whole)
    runs.keep(replace(whole, run="parts", rate=400.0))
    lives = Lives(tmp_path / "replays", kafka)
    lives.start("whole")
    assert lives.ended() == 0
    killed = [life(lives, receiver, dice.randint(1, EVENTS // 15)) for _ in range(KILLS)]
    lives.start("parts")
    assert lives.ended() == 0
    lives.close()
    assert killed == [-signal.SIGKILL] * KILLS, "every life was cut short"
    assert len(answers(kafka, "whole")) == EVENTS
    assert answers(kafka, "parts") == answers(kafka, "whole")


def life(lives: Lives, receiver: Receiver, after: int) -> int:
    """A life that is killed once the model has got so many events more; what it exited with."""
    goal, deadline = len(receiver.got) + after, time.monotonic() + PATIENCE
    process = lives.start("parts")
    while len(receiver.got) < goal:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
    return lives.ended()


def ends(kafka: str, ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The ranges up to what is there."""
    counts = [0, 0, 0]
    for record in read_topic(kafka, "calls"):
        if record:
            counts[record.partition.number] = record.offset + 1
    return tuple(replace(one, end=counts[one.number]) for one in ranges)
