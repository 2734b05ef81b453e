"""Who takes part: each reads one topic, asks the echo model, and writes one result an event to another topic."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.eventing.processes import Processes

HERE = Path(__file__).parent
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


def headrace(place: Place, processes: Processes, trigger: dict[str, object], model: str = "Echo") -> None:
    """Start a server and a dispatcher.

    Args:
        place: Where.
        processes: Gets them.
        trigger: What else ``spec.trigger`` says.
        model: The class of ``echo.py``.
    """
    app = {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceApp",
        "metadata": {"name": "echo"},
        "spec": {
            "predictor": {"class": f"{HERE / 'echo.py'}:{model}"},
            "trigger": {"topic": place.topic, **trigger},
            "results": {"topic": place.results},
        },
    }
    file = place.folder / "headrace.yaml"
    file.write_text(json.dumps(app))  # JSON is YAML
    port = _headrace_serve(model, processes)
    if place.transformer:
        port = _headrace_serve("Relay", processes, "--predictor-host", f"127.0.0.1:{port}")
    dispatch = ["dispatch", "-f", str(file), "--app", "echo", "--kafka", place.kafka]
    processes.start(DISPATCHER, [*PROGRAM, *dispatch, "--sink", f"http://127.0.0.1:{port}/"])


def _headrace_serve(model: str, processes: Processes, *more: str) -> int:
    port = _free_port()
    words = ["serve", "--class", f"{HERE / 'echo.py'}:{model}", "--name", "echo", "--host", "127.0.0.1"]
    ports = ["--http-port", str(port), "--grpc-port", "0"]
    processes.start(f"headrace-serve-{model}", [*PROGRAM, *words, *ports, *more])
    return port


def _faststream(place: Place, processes: Processes) -> None:
    processes.start("faststream", ["-m", f"{ROOM}.faststream_app", place.kafka, place.topic, place.results])


def _kserve_loop(place: Place, processes: Processes) -> None:
    port = _free_port()
    processes.start("kserve-server", ["-m", f"{ROOM}.kserve_server", str(port)])
    if place.transformer:
        predictor, port = port, _free_port()
        words = ["-m", f"{ROOM}.kserve_server", str(port), f"127.0.0.1:{predictor}"]
        processes.start("kserve-transformer", words)
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
