"""Models to serve, and ways to ask them: in process, and as a process."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.eventing.results import Responder
from headrace.serving.app import ModelApp
from headrace.serving.front import Front
from headrace.serving.hosting import HostedModel
from headrace.serving.messages import Request, Response
from headrace.serving.repository import Repository
from headrace.serving.settings import BatchLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

IDENTITY = Responder("vision", "labels", "m", "7")
EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


class Server:
    """The application of one model, in this process, without sockets."""

    def __init__(self, model: Any, limits: BatchLimits, predictor: Any) -> None:
        model.ready = True
        self.hosted = HostedModel(model, limits, predictor)
        self.front = Front(model.name)
        self.front.application = ModelApp(Repository([self.hosted]), IDENTITY)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gone: asyncio.Event | None = None,
    ) -> Answer:
        """One request; the client goes away when ``gone`` is set."""
        named = {name.lower(): value for name, value in (headers or {}).items()}
        request = Request(method, path, named, body)
        response = await (self.front.respond(request) if gone is None else self._until_gone(request, gone))
        if response is None:
            return Answer(0, {}, b"")
        parts = [part async for part in response.stream] if response.stream else [response.body]
        whole = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
        return Answer(response.status, dict(response.headers), whole)

    async def _until_gone(self, request: Request, gone: asyncio.Event) -> Response | None:
        working = asyncio.ensure_future(self.front.respond(request))
        leaving = asyncio.ensure_future(gone.wait())
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if working.done():
            return working.result()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return None

    async def post(self, path: str, value: Any, **headers: str) -> Answer:
        """One JSON request."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.ask("POST", path, orjson.dumps(value), {"content-type": "application/json", **named})


@pytest.fixture
def serving() -> Callable[..., Any]:
    """Runs ``use(server)`` with a server of ``model`` and returns what it returns."""

    def run(
        model: Any,
        use: Callable[[Server], Awaitable[Any]],
        limits: BatchLimits = BatchLimits(),  # noqa: B008  # a frozen value
        predictor: Any = None,
    ) -> Any:
        async def within() -> Any:
            server = Server(model, limits, predictor)
            try:
                return await asyncio.wait_for(use(server), DEADLINE)
            finally:
                await server.hosted.stop()

        return asyncio.run(within())

    return run


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Every span of this process that ends during the test."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


class Process:
    """``headrace serve`` as a process of its own."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        command = [
            sys.executable,
            "-m",
            "headrace.cli.main",
            "serve",
            "--host",
            "127.0.0.1",
            "--http-port",
            "0",
            "--grpc-port",
            "0",
        ]
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self.log = ""

    def url(self) -> str:
        """The address, once it listens."""
        return self.wait_for(r"listening on (http://127\.0\.0\.1:\d+)")

    def ready(self) -> None:
        """Wait until the model is ready."""
        self.wait_for(r"model (\S+) ready")

    def wait_for(self, pattern: str) -> str:
        """The first group of the first match in the log."""
        ends = time.monotonic() + DEADLINE
        while (found := re.search(pattern, self.log)) is None:
            assert time.monotonic() < ends, f"{pattern!r} never came: {self.log}"
            self._read(0.1)
        return found[1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        """The exit code, once it has ended by itself."""
        _, rest = self.process.communicate(timeout=DEADLINE)
        self.log += rest.decode()
        return self.process.returncode

    def _read(self, patience: float) -> None:
        assert self.process.stderr is not None
        if select.select([self.process.stderr], [], [], patience)[0]:
            part = os.read(self.process.stderr.fileno(), 65536)
            assert part or self.process.poll() is None, f"ended: {self.log}"
            self.log += part.decode()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts ``headrace serve`` in a folder of its own; ends it after the test."""
    begun: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        process = Process(tmp_path, arguments, environment)
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.process.poll() is None:
            process.process.kill()
        process.process.communicate()
