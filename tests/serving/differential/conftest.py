"""The same model behind KServe's own server and behind Headrace's, as processes, asked the same things."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import orjson
import pytest

from headrace.models.kserve_api import services

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
DEADLINE = 90.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What one server answered: its status, and its body as JSON where it is JSON."""

    status: int
    body: Any
    location: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""


class Asked:
    """One server, over one kept connection and one channel."""

    def __init__(self, http_port: int, grpc_port: int) -> None:
        self.http_port = http_port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self.stub: Any = services.GRPCInferenceServiceStub(self.channel)
        self._connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=30)

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """One request."""
        try:
            answer = self._asked(method, path, body, headers or {})
        except (OSError, http.client.HTTPException):
            # After an error of the model's KServe's server closes the connection without a word.
            self._connection.close()
            answer = self._asked(method, path, body, headers or {})
        named = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status, _plain(answer.read()), named.get("location", ""), named)

    def _asked(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        self._connection.request(method, path, body, {"host": "twin.example", **headers})
        return self._connection.getresponse()

    def call(self, message: Any, method: str = "ModelInfer") -> Reply:
        """One gRPC call; its status code's name stands for 200 and the details for the body where it fails."""
        try:
            return Reply(200, getattr(self.stub, method)(message, timeout=30))
        except grpc.RpcError as fault:
            return Reply(fault.code().value[0], fault.details())

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()
        self.channel.close()


def _plain(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body


@dataclass(frozen=True, slots=True)
class Pair:
    """Both servers."""

    kserve: Asked
    ours: Asked

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        """What KServe answers, and what Headrace does."""
        return self.kserve.ask(method, path, body, headers), self.ours.ask(method, path, body, headers)

    def call(self, message: Any, method: str = "ModelInfer") -> Any:
        """The same over gRPC."""
        return self.kserve.call(message, method), self.ours.call(message, method)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment; kserve cannot say which it took."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait for a server, or fail with what it said."""
    ends = time.monotonic() + DEADLINE
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the server did not come up: {log.read_text()}")


@contextmanager
def server(arguments: list[str], folder: Path, http_port: int, grpc_port: int, **variables: str) -> Iterator[Asked]:
    """A server as a process, until the block ends."""
    log = folder / f"{http_port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=HERE, stdout=out, stderr=out, env={**os.environ, **variables}
        )
        try:
            wait_until_ready(process, http_port, log)
            asked = Asked(http_port, grpc_port)
            yield asked
            asked.close()
        finally:
            process.kill()
            process.wait()


def headrace_arguments(http_port: int, grpc_port: int, *more: str) -> list[str]:
    """The command line of Headrace's server around the twin."""
    return [
        "-m", "headrace.cli.main", "serve", "--class", "twin_model:Twin", "--name", "twin", "--host", "127.0.0.1",
        "--http-port", str(http_port), "--grpc-port", str(grpc_port), *more,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers around the same model."""
    folder = tmp_path_factory.mktemp("twins")
    theirs_http, theirs_grpc, ours_http, ours_grpc = free_ports(4)
    theirs = ["kserve_server.py", str(theirs_http), str(theirs_grpc)]
    with (
        server(theirs, folder, theirs_http, theirs_grpc, CE_MERGE="true") as kserve,
        server(headrace_arguments(ours_http, ours_grpc), folder, ours_http, ours_grpc, CE_MERGE="true") as ours,
    ):
        yield Pair(kserve, ours)
