"""What ``headrace demo`` does, step by step; how it is shown stands in ``demo_report``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import HeadraceError, UnavailableError
from headrace.local.state import HOME_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.eventing.event import CloudEvent
    from headrace.local.twin import Twin
    from headrace.manifests.spec import InferenceApp

IDLE = 6
"""Seconds without an event after which the demo's replicas go: a real app waits longer."""
APP = f"""
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {{name: picture-labels, namespace: vision}}
spec:
  predictor:
    class: headrace.predictors.efficientnet:EfficientNetLite
    scale: {{min: 0, max: 1, idle: {IDLE}s}}
  transformer:
    class: headrace.transformers.image:ImageTransformer
    scale: {{min: 0, max: 1, idle: {IDLE}s}}
  trigger: {{topic: pictures, ordering: key}}
  results: {{topic: pictures.labels}}
  usage: {{}}
"""
PATIENCE = 300.0
"""Seconds for the answers of one round: a first start on a slow machine, reading torch from a cold disk, takes long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One picture's answer."""

    event_id: str
    picture: str
    label: str
    """Empty where there is none."""
    confidence: float
    latency_ms: float
    """From the event's time to that of the result's record."""
    problem: str = ""


class DemoRun:
    """One run of the demo over a started twin.

    Args:
        twin: The twin, started.
        app: The app it runs.
    """

    def __init__(self, twin: Twin, app: InferenceApp) -> None:
        self._twin = twin
        self._app = app
        self._answers: dict[str, tuple[CloudEvent, int]] = {}
        self._times: dict[str, int] = {}
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(topic, keep), daemon=True)
            for topic, keep in (
                (app.spec.trigger.topic, self._keep_request),
                (app.result_topic or "", self._keep_answer),
            )
        ]
        for thread in self._threads:
            thread.start()

    async def ask(self, groups: Sequence[Sequence[Path]], show: Callable[[Answer], None]) -> list[Answer]:
        """Publish the pictures as a user does, and wait for all answers.

        Args:
            groups: Files, published group after group; each file becomes one event.
            show: Called with each answer as it comes.

        Raises:
            UnavailableError: an answer is missing after five minutes; the message says what is known.
        """
        wanted: dict[str, str] = {}
        for pictures in groups:
            wanted |= await self._publish(pictures)
        shown: dict[str, Answer] = {}
        began = time.monotonic()
        while len(shown) < len(wanted):
            for event_id in wanted.keys() - shown.keys():
                if event_id in self._answers and event_id in self._times:
                    shown[event_id] = self._answer(event_id, wanted[event_id])
                    show(shown[event_id])
            if time.monotonic() - began > PATIENCE:
                raise UnavailableError(self._missing(len(wanted) - len(shown)))
            await asyncio.sleep(0.02)
        return [shown[event_id] for event_id in wanted]

    async def back_at_zero(self) -> float:
        """Wait until no replica is left; the seconds it took.

        Raises:
            UnavailableError: replicas are still there after a minute.
        """
        began = time.monotonic()
        while any(service.replicas for service in self._twin.status().services):
            if time.monotonic() - began > IDLE + 60:
                raise UnavailableError("The replicas do not go back to zero", hint="look at `headrace logs`")
            await asyncio.sleep(0.1)
        return time.monotonic() - began

    def close(self) -> None:
        """End the readers."""
        self._done.set()
        for thread in self._threads:
            thread.join(5)

    async def _publish(self, pictures: Sequence[Path]) -> dict[str, str]:
        """Event id -> picture, published by the command that a user types."""
        command = [
            "publish",
            "--output",
            "json",
            "--topic",
            self._app.spec.trigger.topic,
            "--type",
            "com.example.picture",
        ]
        publishing = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace.cli.main", *command, *map(str, pictures)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, HOME_VARIABLE: str(self._twin.home.path), "KAFKA_BOOTSTRAP_SERVERS": self._twin.kafka},
        )
        output, _ = await publishing.communicate()
        if publishing.returncode:
            raise HeadraceError("The pictures could not be published; what `headrace publish` said stands above")
        return {line["id"]: line["subject"] for line in map(json.loads, output.splitlines())}

    def _read(self, topic: str, keep: Callable[[CloudEvent, int], None]) -> None:
        from headrace.eventing.codec.kafka import read_record
        from headrace.eventing.kafka.reader import read_topic

        for record in read_topic(self._twin.kafka, topic, follow=True):
            if self._done.is_set():
                return
            if record is not None:
                keep(read_record(record, namespace="", name=""), record.timestamp)

    def _keep_request(self, event: CloudEvent, timestamp: int) -> None:
        self._times[event.id] = timestamp

    def _keep_answer(self, event: CloudEvent, timestamp: int) -> None:
        self._answers[event.get("causationid")] = (event, timestamp)

    def _answer(self, event_id: str, picture: str) -> Answer:
        event, timestamp = self._answers[event_id]
        latency = float(timestamp - self._times[event_id])
        data: dict[str, Any] = orjson.loads(event.data or b"{}")
        if "predictions" not in data:
            return Answer(event_id, picture, "", 0.0, latency, str(data.get("detail", "no prediction")))
        best = data["predictions"][0]
        return Answer(event_id, picture, str(best["label"]), float(best["confidence"]), latency)

    def _missing(self, count: int) -> str:
        problems = [f"{s.name}: {s.problem}" for s in self._twin.status().services if s.problem]
        problems += [f"{w.name}: {w.problem}" for w in self._twin.status().workloads if w.problem]
        known = "; ".join(problems) or "no process reports a problem"
        return f"{count} pictures have no answer after {PATIENCE:g} s ({known})"
