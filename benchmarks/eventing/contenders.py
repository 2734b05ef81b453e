"""Who takes part: each reads one topic, asks the model, and writes one result an event to another topic."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchmarks.eventing.models import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.eventing.processes import Processes

ROOM = "benchmarks.eventing"
PROGRAM = ("-m", "headrace.cli.main")
DISPATCHER = "headrace-dispatch"
"""The dispatcher's name among its processes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender works."""

    kafka: str
    topic: str
    results: str
    folder: Path
    transformer: bool
    """Whether a transformer in a process of its own stands before the model."""
    case: Case = CASES["echo"]
    """The model."""
    ordering: str = "none"
    """What ``spec.trigger.ordering`` says, where the contender has such a thing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way from Kafka to the model and back."""

    name: str
    promise: str
    """What it promises of its results."""
    start: Callable[[Place, Processes], None]
    needs: str = ""
    """A package that need not be installed."""

    @property
    def is_here(self) -> bool:
        """Whether it can take part."""
        return not self.needs or find_spec(self.needs) is not None


def _headrace(place: Place, processes: Processes) -> None:
    headrace(place, processes, {})


def _headrace_batches(place: Place, processes: Processes) -> None:
    headrace(place, processes, {"batch": {}})


def headrace(place: Place, processes: Processes, trigger: dict[str, object]) -> None:
    """Start a server and a dispatcher.

    Args:
        place: Where.
        processes: Gets them.
        trigger: What else ``spec.trigger`` says.
    """
    app = {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceApp",
        "metadata": {"name": "echo"},
        "spec": {
            "predictor": {"class": place.case.predictor},
            "trigger": {"topic": place.topic, "ordering": place.ordering, **trigger},
            "results": {"topic": place.results},
        },
    }
    file = place.folder / "headrace.yaml"
    file.write_text(json.dumps(app))  # JSON is YAML
    port = _headrace_serve("predictor", place.case.predictor, processes)
    if place.transformer:
        predictor = f"127.0.0.1:{port}"
        port = _headrace_serve("transformer", place.case.transformer, processes, "--predictor-host", predictor)
    dispatch = ["dispatch", "-f", str(file), "--app", "echo", "--kafka", place.kafka]
    processes.start(DISPATCHER, [*PROGRAM, *dispatch, "--sink", f"http://127.0.0.1:{port}/"])


def _headrace_serve(role: str, model: str, processes: Processes, *more: str) -> int:
    port = _free_port()
    words = ["serve", "--class", model, "--name", "echo", "--host", "127.0.0.1"]
    ports = ["--http-port", str(port), "--grpc-port", "0"]
    processes.start(f"headrace-{role}", [*PROGRAM, *words, *ports, *more])
    return port


def _faststream(place: Place, processes: Processes) -> None:
    words = [place.kafka, place.topic, place.results, place.case.name]
    processes.start("faststream", ["-m", f"{ROOM}.faststream_app", *words])


def _kserve_loop(place: Place, processes: Processes) -> None:
    port = _free_port()
    server = ["-m", f"{ROOM}.kserve_server", place.case.name]
    processes.start("kserve-server", [*server, str(port)])
    if place.transformer:
        predictor, port = port, _free_port()
        processes.start("kserve-transformer", [*server, str(port), f"127.0.0.1:{predictor}"])
    url = f"http://127.0.0.1:{port}/v1/models/echo:predict"
    processes.start("kserve-loop", ["-m", f"{ROOM}.kserve_loop", place.kafka, place.topic, place.results, url])


CONTENDERS = (
    Contender("headrace", "exactly once", _headrace),
    Contender("headrace-batches", "exactly once", _headrace_batches),
    Contender("faststream", "at least once", _faststream, needs="faststream"),
    Contender("kserve-loop", "at least once", _kserve_loop),
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
