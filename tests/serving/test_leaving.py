"""The life of the serving process under load: nothing that was sent goes unanswered."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from headrace.models import rpc_tensors, tensors
from headrace.models.kserve_api import services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow
WORKING = """
import os
import pathlib
import time

import kserve


class Working(kserve.Model):
    '''Works for some milliseconds, on numbers or a tensor; says which process it is; waits where it is told to.'''

    freed = False

    def predict(self, payload, headers=None):
        time.sleep(0.003)
        if not isinstance(payload, dict):
            assert not self.freed
            tensor = payload.inputs[0]
            return kserve.InferResponse(
                payload.id, self.name, [kserve.InferOutput("y", tensor.shape, tensor.datatype, data=tensor.as_numpy())]
            )
        if payload.get("wait"):
            pathlib.Path("asked").touch()
            while not pathlib.Path("answer").exists():
                pass  # holds the interpreter as a model in pure Python does
        assert not self.freed
        return {"predictions": [os.getpid()]}

    def stop(self):
        self.freed = True


class Broken(kserve.Model):
    def load(self):
        raise ValueError("no weights")


class Forwarding(kserve.Model):
    '''Leaves the call to kserve.'''

    def preprocess(self, payload, headers=None):
        return payload
"""
PREDICT = "/v1/models/m:predict"


def predicted(url: str, value: Any = None) -> Any:
    body = json.dumps(value or {}).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url + PREDICT, body, {"content-type": "application/json"}), timeout=60
    ) as answer:
        return json.loads(answer.read())["predictions"]


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


class Load:
    """Clients that ask as fast as they are answered, until the server is gone; each request that was lost is kept."""

    def __init__(self, url: str, rpc_port: int, clients: int = 6) -> None:
        self.answered = 0
        self.refused = 0
        self.lost: list[str] = []
        self._port = int(url.rpartition(":")[2])
        self._rpc_port = rpc_port
        self._lock = threading.Lock()
        kinds = [self._http] * clients + [self._rpc] * 2
        self._threads = [threading.Thread(target=kind, daemon=True) for kind in kinds]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Until every client has found the server gone."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _count(self, *, refused: bool) -> None:
        with self._lock:
            self.answered += 1
            self.refused += refused

    def _http(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while True:
            try:
                connection.connect()
            except OSError:
                return  # nothing was sent
            try:
                while connection.sock is not None:
                    connection.request("POST", PREDICT, b"{}", {"content-type": "application/json"})
                    answer = connection.getresponse()
                    answer.read()
                    assert answer.status in (200, 503)
                    self._count(refused=answer.status == 503)
            except (OSError, http.client.HTTPException) as fault:
                self.lost.append(f"http: {fault!r}")
            connection.close()

    def _rpc(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._rpc_port}") as channel:
            stub: Any = services.GRPCInferenceServiceStub(channel)
            message = rpc_tensors.dump_request(tensors.new_request("m", {"x": np.ones(3)}, request_id="1"))
            while True:
                try:
                    stub.ModelInfer(message, timeout=60)
                    self._count(refused=False)
                except grpc.RpcError as fault:
                    told = fault.details()
                    if fault.code() is grpc.StatusCode.UNAVAILABLE and "stopping" in told:
                        self._count(refused=True)
                        return  # it goes elsewhere, as a client does that is told so
                    if "connect" not in told.lower():
                        self.lost.append(f"grpc: {fault.code()} {told}")
                    return


def served(serve: Callable[..., Any], folder: Path, *more: str, name: str = "m") -> tuple[Any, str, int]:
    """The process, its address and its gRPC port, once it is ready."""
    (folder / "working.py").write_text(WORKING)
    process = serve("--class", "working:Working", "--name", name, *more)
    url = process.url()
    rpc_port = int(process.wait_for(r"gRPC on 127\.0\.0\.1:(\d+)"))
    process.ready()
    return process, url, rpc_port


@pytest.mark.parametrize("workers", [1, 2])
def test_no_request_is_lost_at_the_end(serve: Callable[..., Any], tmp_path: Path, workers: int) -> None:
    """SIGTERM in the middle of HTTP and gRPC load: every request sent is answered, then the process is gone."""
    process, url, rpc_port = served(serve, tmp_path, "--workers", str(workers))
    load = Load(url, rpc_port)
    until(lambda: load.answered > 200)
    assert process.end() == 0
    load.wait()
    assert load.lost == []
    assert "Traceback" not in process.log


def test_it_is_alive_while_the_model_works(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Liveness, readiness and other requests' refusals do not wait for an inference, however long it takes."""
    process, url, _ = served(serve, tmp_path)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(predicted(url, {"wait": True})))
    caller.start()
    until((tmp_path / "asked").exists)
    for path in ("/", "/v2/health/live", "/v2/health/ready", "/v1/models/m", "/metrics"):
        with urllib.request.urlopen(url + path, timeout=60) as answer:
            assert answer.status == 200
    assert not answers
    (tmp_path / "answer").touch()
    caller.join(60)
    assert len(answers) == 1
    assert process.end() == 0


def test_workers_share_the_ports_and_are_replaced(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Two processes answer at one port; one that dies has a successor, and meanwhile the other answers alone.

    ``/metrics`` is the sum of all, those that died included, whichever worker is asked.
    """
    process, url, _ = served(serve, tmp_path, "--workers", "2")
    seen: list[int] = []

    def ask() -> int:
        seen.extend(predicted(url))
        return len(set(seen))

    until(lambda: ask() == 2)
    assert process.process.pid not in seen
    assert [counted(url) for _ in range(8)] == [len(seen)] * 8
    os.kill(min(seen), signal.SIGKILL)
    until(lambda: "another takes its place" in read(process))
    until(lambda: ask() == 3)
    assert [counted(url) for _ in range(8)] == [len(seen)] * 8
    assert process.end() == 0


def counted(url: str) -> float:
    """How many answers ``/metrics`` knows of, whichever worker tells it."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as page:
        text = page.read().decode()
    requests = re.search(r'headrace_http_requests_total{method="POST",status="200"} (\S+)', text)
    runs = re.search(r'headrace_run_requests_count{model="m"} (\S+)', text)
    assert requests is not None
    assert runs is not None
    assert float(requests[1]) == float(runs[1])
    return float(runs[1])


def read(process: Any) -> str:
    process._read(0)
    return str(process.log)


class Predictor(BaseHTTPRequestHandler):
    """Answers v1."""

    def do_POST(self) -> None:
        """One number."""
        body = b'{"predictions": [7]}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_workers_know_their_predictor(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A transformer that leaves the call to kserve works in every worker; under KServe it answers 501 there."""
    (tmp_path / "working.py").write_text(WORKING)
    with ThreadingHTTPServer(("127.0.0.1", 0), Predictor) as predictor:
        threading.Thread(target=predictor.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{predictor.server_port}"
        process = serve("--class", "working:Forwarding", "--name", "m", "--predictor_host", place, "--workers", "2")
        url = process.url()
        process.ready()
        assert [predicted(url) for _ in range(10)] == [[7]] * 10
        assert process.end() == 0
        predictor.shutdown()


def test_a_model_that_does_not_load_ends_the_server(serve: Callable[..., Any], tmp_path: Path) -> None:
    """One model of several, in a worker: the reason is on standard error, the exit code is 1."""
    (tmp_path / "working.py").write_text(WORKING)
    process = serve("--class", "working:Working", "--name", "m", "--also", "b=working:Broken", "--workers", "2")
    assert process.exit_code() == 1
    assert "ValueError: no weights" in process.log
    assert "Traceback" not in process.log


def test_several_models_come_and_go(serve: Callable[..., Any], tmp_path: Path) -> None:
    """``--also`` adds a model; it is unloaded and loaded again over REST while the first goes on."""
    process, url, _ = served(serve, tmp_path, "--also", "n=working.py:Working")

    def posted(path: str) -> Any:
        with urllib.request.urlopen(urllib.request.Request(url + path, b"", method="POST"), timeout=60) as answer:
            return json.loads(answer.read())

    assert [entry["name"] for entry in posted("/v2/repository/index")] == ["m", "n"]
    assert posted("/v2/repository/models/n/unload") == {"name": "n", "unload": True}
    assert [entry["state"] for entry in posted("/v2/repository/index")] == ["READY", "UNAVAILABLE"]
    assert predicted(url) == [process.process.pid]
    assert posted("/v2/repository/models/n/load") == {"name": "n", "load": True}
    assert [entry["state"] for entry in posted("/v2/repository/index")] == ["READY", "READY"]
    assert process.end() == 0


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_is_taken(serve: Callable[..., Any], flag: str, workers: str) -> None:
    """One line says which and what to do, before anything is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = serve("--class", "x:Y", "--name", "m", flag, str(port), "--workers", workers)
        assert process.exit_code() == 2
    assert process.log.startswith(f"headrace: Port {port} on 127.0.0.1 cannot be opened")
    assert "Address already in use" in process.log
    assert f"{flag} 0 takes a free one" in process.log
    assert process.log.count("\n") == 1
