"""`headrace dispatch` as its container runs it: a process, between a Kafka broker and a receiver over HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import web

from headrace.eventing.codec import http
from headrace.eventing.codec.http import HttpMessage, Mode
from headrace.eventing.codec.json_format import load_batch
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics, group_progress
from headrace.eventing.log import Partition
from headrace.testing.app import until
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from typing_extensions import Self

PARTITIONS = 2
GROUP = "headrace.default.app"
Answer = tuple[int, dict[str, str], bytes]


def event(number: int, **attributes: str) -> CloudEvent:
    """An event with its number as id and data."""
    return new_event(
        {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", **attributes}, str(number).encode()
    )


class Receiver:
    """A server that answers every POST by ``answer``, in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self.answer: Callable[[list[CloudEvent], Mode], Answer] = lambda *_: (
            200,
            {"content-type": "text/plain"},
            b"ok",
        )
        self.got: list[list[CloudEvent]] = []
        """The events of each request, in the order of arrival."""
        self.url = ""
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def ids(self) -> list[str]:
        """The ids of all events that came, each time anew."""
        return [each.id for request in self.got for each in request]

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._end = asyncio.Event()
        self._up.set()
        await self._end.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        if request.method == "GET":
            return web.Response()  # ready
        message = HttpMessage({name.lower(): value for name, value in request.headers.items()}, await request.read())
        mode = http.mode_of(message.headers) or Mode.BINARY
        items = load_batch(message.body) if mode is Mode.BATCHED else [http.read_binary(message)]
        events = [item for item in items if isinstance(item, CloudEvent)]
        self.got.append(events)
        status, headers, body = self.answer(events, mode)
        return web.Response(status=status, headers=headers, body=body)


@dataclass
class Delivery:
    """A running dispatcher, and what a user sees of it."""

    kafka: str
    receiver: Receiver
    process: subprocess.Popen[str]
    log: Path
    pause: Path
    """The file that pauses it."""

    def publish(self, *events: CloudEvent) -> None:
        """Publish to its topic."""
        with Publisher(self.kafka) as publisher:
            publisher.publish("in", events)

    def read(self, topic: str) -> list[CloudEvent]:
        """Every committed event of a topic."""
        return [read_record(record, namespace="", name="") for record in read_topic(self.kafka, topic) if record]

    def done(self) -> int:
        """How many records of its topic are committed as done, without a gap."""
        partitions = [Partition("in", number) for number in range(PARTITIONS)]
        return sum(known.offset for known in group_progress(self.kafka, GROUP, partitions).values())

    def until_done(self, count: int) -> None:
        """Wait for this many."""
        until(lambda: self.done() == count, f"{count} records done; {self.log.read_text()}", 60)

    def metric(self, name: str) -> float:
        """One number of its metrics, by name and labels as they stand on the page; 0 where it is not there."""
        told = until(lambda: re.findall(r"metrics at port (\d+)", self.log.read_text()), "metrics are served")
        with urllib.request.urlopen(f"http://127.0.0.1:{told[0]}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def dispatching(folder: Path, trigger: dict[str, Any], receiver: Receiver, *, kafka: str) -> Iterator[Delivery]:
    """Run ``headrace dispatch`` for an app with this trigger."""
    app = {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceApp",
        "metadata": {"name": "app"},
        "spec": {
            "predictor": {"class": "my.models:Model"},
            "trigger": {"topic": "in", **trigger},
            "results": {"topic": "out"},
        },
    }
    (folder / "headrace.yaml").write_text(yaml.safe_dump(app))
    log = folder / "dispatch.log"
    around = {
        **os.environ,
        "HEADRACE_HOME": str(folder),
        "HEADRACE_HOST": "127.0.0.1",
        "HEADRACE_METRICS_PORT": "0",
        "HEADRACE_PAUSE_FILE": str(folder / "pause"),
        "POD_NAME": "app-dispatcher",
    }
    words = ["dispatch", "-f", str(folder / "headrace.yaml"), "--app", "app", "--kafka", kafka, "--sink", receiver.url]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.cli.main", *words], env=around, stdout=output, stderr=output, text=True
        )
    try:
        yield Delivery(kafka, receiver, process, log, folder / "pause")
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def delivering(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Runs dispatchers for apps with a given trigger, over one fresh broker and one receiver."""
    (tmp_path / "kafka").mkdir()
    with running_broker(tmp_path / "kafka") as kafka, Receiver() as receiver:
        specs = [TopicSpec("in", PARTITIONS, {}), TopicSpec("out", 1, {}), TopicSpec("in.dead-letters", 1, {})]
        create_topics(kafka, specs)

        def run(**trigger: Any) -> Any:
            return dispatching(tmp_path, trigger, receiver, kafka=kafka)

        yield run
