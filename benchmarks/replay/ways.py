"""Two ways of the same events through the same model: live dispatch and replay, watched from their first answer on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.eventing.processes import Processes

LIVE = "live"
REPLAY = "replay"
PROGRAM = ("-m", "headrace.cli.main")
PATIENCE = 600.0
"""Seconds without one answer more after which a way is given up."""
LOOK = 0.2
"""Seconds between two looks at the memory."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Course:
    """What both ways share."""

    kafka: str
    topic: str
    events: int
    url: str
    """Of the model server."""
    batch: int
    """Most events in one request; 1 for each in its own."""
    folder: Path


@dataclass(slots=True)
class Seen:
    """What was seen of one way."""

    name: str
    answers: int = 0
    """Between the first look and the last answer."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Of the process that reads, sends and writes."""
    broker_cpu: float = 0.0
    server_cpu: float = 0.0
    distinct: int = 0
    """Events that were answered; of all."""
    twice: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list)
    """Answers so far, and MiB resident then."""

    def facts(self) -> dict[str, Any]:
        """As JSON's types, with what they come to."""
        each = max(1, self.answers)
        tenth = [mib for answers, mib in self.memory if answers >= self.distinct / 10] or [0.0]
        return {
            **asdict(self),
            "events_per_second": self.answers / max(self.seconds, LOOK),
            "cpu_ms": self.cpu / each * 1000,
            "broker_cpu_ms": self.broker_cpu / each * 1000,
            "server_cpu_ms": self.server_cpu / each * 1000,
            "memory_mib": {"at_a_tenth": tenth[0], "last": tenth[-1], "peak": max(tenth)},
        }


def start(name: str, course: Course, results: str, processes: Processes) -> None:
    """Start one of the two, with answers to a topic of its own."""
    if name == REPLAY:
        batch = ["--batch", str(course.batch), "--concurrency", "64"] if course.batch > 1 else ["--concurrency", "16"]
        words = ["--topic", course.topic, "--to", course.url, "--results", results, "--ordering", "none", *batch]
        processes.start(name, [*PROGRAM, "replay", *words, "--kafka", course.kafka])
        return
    trigger: dict[str, Any] = {"topic": course.topic, "ordering": "none"}
    if course.batch > 1:
        trigger["batch"] = {"size": course.batch}
    app = {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceApp",
        "metadata": {"name": "app"},
        "spec": {"predictor": {"class": "a:B"}, "trigger": trigger, "results": {"topic": results}},
    }
    file = course.folder / f"{results}.yaml"
    file.write_text(json.dumps(app))  # JSON is YAML
    words = ["dispatch", "-f", str(file), "--app", "app", "--kafka", course.kafka, "--sink", course.url]
    concurrency = ["--concurrency", "64" if course.batch > 1 else "16"]
    processes.start(name, [*PROGRAM, *words, *concurrency])


def watch(
    name: str,
    course: Course,
    results: str,
    processes: Processes,
    clocks: tuple[Callable[[], float], Callable[[], float]],
) -> Seen:
    """Watch until all events have an answer.

    Args:
        name: ``live`` or ``replay``, as the process is called.
        course: What it is asked.
        results: The topic of its answers.
        processes: The way's own.
        clocks: CPU seconds of the broker, and of the model server.

    Raises:
        SystemExit: it has ended too early, or no answer comes.
    """
    answers, seen = _Answers(course.kafka, results), Seen(name)
    while not answers.poll():
        _check(name, processes, answers, course)
    first, began = answers.count, time.perf_counter()
    before = (processes.cpu(), clocks[0](), clocks[1]())
    looked = 0.0
    running = True
    while len(answers.ids) < course.events:
        answers.poll()
        _check(name, processes, answers, course)
        running = running and processes.all_run()
        if running and time.perf_counter() - looked >= LOOK:
            looked = time.perf_counter()
            seen.memory.append((answers.count, round(processes.rss(name) / MIB, 1)))
            seen.cpu = processes.cpu() - before[0]
            seen.broker_cpu, seen.server_cpu = clocks[0]() - before[1], clocks[1]() - before[2]
            seen.answers, seen.seconds = answers.count - first, looked - began
    seen.distinct, seen.twice = len(answers.ids), answers.count - len(answers.ids)
    answers.close()
    return seen


def _check(name: str, processes: Processes, answers: _Answers, course: Course) -> None:
    if name == LIVE:  # a replay ends when it is done, before its last answers are read
        processes.check()
    if answers.silent() > PATIENCE:
        raise SystemExit(f"{name}: {len(answers.ids)} of {course.events} events had an answer, and no more comes")


class _Answers:
    """The committed answers of a topic, as they come."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False
        )
        partitions = [TopicPartition(topic, number) for number in self._consumer.partitions_for_topic(topic)]
        self._consumer.assign(partitions)
        self._consumer.seek_to_beginning(*partitions)
        self.ids: set[bytes] = set()
        self.count = 0
        self._moved = time.perf_counter()

    def poll(self) -> int:
        """How many came now."""
        found = [raw for batch in self._consumer.poll(timeout_ms=200, max_records=5000).values() for raw in batch]
        for raw in found:
            self.ids.add(dict(raw.headers)["ce_causationid"])
        self.count += len(found)
        if found:
            self._moved = time.perf_counter()
        return len(found)

    def silent(self) -> float:
        """Seconds since the last one came."""
        return time.perf_counter() - self._moved

    def close(self) -> None:
        """Let go of Kafka."""
        self._consumer.close()
