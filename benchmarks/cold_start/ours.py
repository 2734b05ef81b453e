"""The picture app of ``headrace up``, at zero, and one picture: how long, how much CPU, and where it went."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
from kafka import KafkaConsumer, KafkaProducer

from headrace.testing.app import running_app, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.testing.app import AppRunner

TOPIC, RESULTS = "pictures", "pictures.labels"
SPEC = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: picture-labels, namespace: vision}
spec:
  predictor: {class: "headrace.predictors.efficientnet:EfficientNetLite", scale: {idle: 2s}}
  transformer: {class: "headrace.transformers.image:ImageTransformer", scale: {idle: 2s}}
  trigger: {topic: pictures}
  results: {topic: pictures.labels}
"""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From an event at zero to its answer."""

    seconds: float
    cpu: float
    """Seconds, of every process that had a part in it."""
    phases: dict[str, dict[str, float]]
    """By service, then by phase, in seconds; empty where the contender tells none."""


@contextmanager
def app(folder: Path, *, template: bool) -> Iterator[AppRunner]:
    """The app, up and at zero."""
    home = folder / ("template" if template else "plain")
    home.mkdir()
    file = home / "headrace.yaml"
    file.write_text(SPEC, encoding="utf-8")
    with running_app(file, home, *([] if template else ["--no-template"])) as running:
        yield running


def measure(running: AppRunner, picture: bytes) -> ColdStart:
    """Wait for zero, and for the twin to be at rest; then publish a picture, and read its answer."""
    until(lambda: all(not service["replicas"] for service in running.status()["services"]), "at zero")
    _until_at_rest(running)
    kafka = running.state()["kafka"]
    with (
        closing(KafkaProducer(bootstrap_servers=kafka)) as producer,
        closing(KafkaConsumer(RESULTS, bootstrap_servers=kafka, isolation_level="read_committed")) as consumer,
    ):
        until(lambda: consumer.poll(100) is not None and consumer.assignment(), "the reader is at the end of the topic")
        for partition in consumer.assignment():
            consumer.position(partition)
        before, now, began = _cpu(running), time.time(), time.monotonic()
        producer.send(TOPIC, picture, headers=_headers())
        producer.flush()
        until(lambda: consumer.poll(20), "the answer")
        seconds = time.monotonic() - began
    used = _cpu(running)
    cpu = sum(after - before.get(process, 0.0) for process, after in used.items())
    return ColdStart(seconds, cpu, until(lambda: _phases(running, since=now), "the spans of the start"))


def _headers() -> list[tuple[str, bytes]]:
    attributes = {"specversion": "1.0", "id": uuid4().hex, "source": "/benchmark", "type": "picture"}
    return [("content-type", b"image/png"), *((f"ce_{name}", value.encode()) for name, value in attributes.items())]


def _until_at_rest(running: AppRunner) -> None:
    """Templates import after `up` says that it is up, and the last replica's end is work, too."""

    def rests() -> bool:
        before = sum(_cpu(running).values())
        time.sleep(1)
        return sum(_cpu(running).values()) - before < 0.1  # noqa: PLR2004  # seconds of CPU in one of the clock

    until(rests, "the twin is at rest")


def _cpu(running: AppRunner) -> dict[tuple[int, float], float]:
    """Seconds used so far by each process of the twin."""
    found = {}
    twin = psutil.Process(running.pid)
    for process in (twin, *twin.children(recursive=True)):
        try:
            times = process.cpu_times()
            found[process.pid, process.create_time()] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return found


def _phases(running: AppRunner, *, since: float) -> dict[str, dict[str, float]]:
    """Of both services, once their spans are there; those of the round before began earlier."""
    starts = [start for start in running.status()["cold_starts"] if start["began"] >= since]
    phases = {start["service"]: dict(start["phases"]) for start in starts}
    return phases if len(phases) == 2 and all("first answer" in each for each in phases.values()) else {}  # noqa: PLR2004
