"""A whole app of `headrace up`, each part of which can be killed: dispatcher, transformer, predictor, broker."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import confluent_kafka
import psutil

from headrace.testing.app import AppRunner, running_app, until

from .topics import PATIENCE, Topics

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = Path(__file__).with_name("chain_parts.py")
SERVICES = ("predictor", "transformer")
KINDS = (*SERVICES, "dispatcher", "broker")
IDLE = "3s"
"""After which the services go to zero."""


def app(name: str) -> str:
    """The app's file."""
    scale = {"min": 0, "max": 2, "target": 8, "idle": IDLE}
    spec = {
        "predictor": {"class": f"{PARTS}:Slow", "scale": scale},
        "transformer": {"class": f"{PARTS}:Numbers", "scale": scale},
        "trigger": {
            "topic": "in",
            "partitions": 4,
            "ordering": "key",
            "timeout": "20s",
            "batch": {"size": 4},
            "retry": {"attempts": 10, "delay": "50ms", "maxDelay": "1s"},
            "deadLetters": "dead",
        },
        "results": {"topic": "out"},
    }
    metadata = {"name": name, "namespace": "tests"}
    return json.dumps(
        {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceApp", "metadata": metadata, "spec": spec}
    )


class Chain(Topics):
    """What is killed.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._deliveries = folder / "deliveries"
        self._stack = ExitStack()
        self._app: AppRunner | None = None

    @property
    def bootstrap(self) -> str:
        """Where the broker is; it comes back at the same place."""
        return str(self._up.state()["kafka"])

    @property
    def got(self) -> Counter[str]:
        """Deliveries by event id, as the transformer has seen them."""
        with suppress(FileNotFoundError):
            return Counter(self._deliveries.read_text().splitlines())
        return Counter()

    def open(self) -> None:
        """`headrace up`."""
        file = self._folder / "headrace.yaml"
        file.write_text(app("faults"))  # JSON is YAML
        home = self._folder / "home"
        home.mkdir()
        self._app = self._stack.enter_context(running_app(file, home, DELIVERIES=str(self._deliveries)))

    def close(self) -> None:
        """Ctrl-C."""
        self._stack.close()

    def until_zero(self) -> None:
        """Wait until no replica of the transformer and none of the predictor runs."""
        until(lambda: not any(map(self.pids, SERVICES)), "the chain is at zero", PATIENCE)

    def pids(self, kind: str) -> list[int]:
        """The processes of one kind that run now."""
        if kind == "broker":
            children = psutil.process_iter(["pid", "ppid", "cmdline"])  # one that has just gone has no command line
            ours = [child.info for child in children if child.info["ppid"] == self._up.pid]
            return [child["pid"] for child in ours if kind in (child["cmdline"] or ())]
        status = self._up.status()
        replicas = [r["pid"] for s in status["services"] if s["name"].endswith(kind) for r in s["replicas"]]
        return replicas + [w["pid"] for w in status["workloads"] if w["name"].endswith(kind) and w["pid"]]

    def kill(self, kind: str, choose: Callable[[list[int]], int]) -> None:
        """SIGKILL for one process of this kind, as soon as there is one; none where all events are done before."""
        found: list[int] = []

        def is_there_or_over() -> bool:
            found[:] = self.pids(kind)
            with suppress(confluent_kafka.KafkaException):  # the broker may be dead
                return bool(found) or self.lag() == 0
            return False

        until(is_there_or_over, f"a {kind} runs", PATIENCE)
        with suppress(ProcessLookupError):
            if found:
                os.kill(choose(found), signal.SIGKILL)

    @property
    def _up(self) -> AppRunner:
        assert self._app is not None
        return self._app
