"""The servers that are measured, as processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds that a server may take to get ready."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a server has used so far."""

    cpu: float
    """Seconds, of the process and its children."""
    rss: int
    """Bytes in memory now."""


@dataclass(frozen=True, slots=True)
class Host:
    """A server that runs."""

    name: str
    process: psutil.Process
    http_port: int
    grpc_port: int
    """0 where it speaks no gRPC."""
    ready: float
    """Seconds from its start to the first 200 of ``/v2/health/ready``."""
    at_ready: Cost

    def cpu(self) -> float:
        """Seconds of CPU so far; for differences."""
        return fine_cpu(self.process)


def cost_of(process: psutil.Process) -> Cost:
    """What a process and its children have used so far."""
    cpu, rss = 0.0, 0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        cpu += times.user + times.system
        rss += one.memory_info().rss
    return Cost(cpu, rss)


def fine_cpu(process: psutil.Process) -> float:
    """Seconds of CPU that a process's threads of now have used, to the microsecond.

    The kernel's other clock of a process has ticks of 10 ms, which is many requests. Threads that have ended are not
    counted, so only a difference between two moments is of use. Elsewhere than on Linux: by ticks.
    """
    tasks = Path("/proc", str(process.pid), "task")
    try:
        return sum(int(stat.read_text(encoding="ascii").split()[0]) for stat in tasks.glob("*/schedstat")) / 1e9
    except (OSError, ValueError, IndexError):
        return cost_of(process).cpu


def kserve_command(target: str, http_port: int, grpc_port: int, *, quiet: bool = False) -> list[str]:
    """KServe's ModelServer with this model."""
    own = ["--class", target, "--name", "m", "--http-port", str(http_port), "--grpc-port", str(grpc_port)]
    return [sys.executable, "-m", "benchmarks.serving.kserve_host", *own, *(["--quiet"] if quiet else [])]


def headrace_command(target: str, http_port: int, grpc_port: int) -> list[str]:
    """``headrace serve`` with this model."""
    own = ["--class", target, "--name", "m", "--host", "127.0.0.1", "--http-port", str(http_port)]
    grpc = ["--grpc-port", str(grpc_port or free_port())]
    return [sys.executable, "-m", "headrace.cli.main", "serve", *own, *grpc]


def speaks_grpc() -> bool:
    """Whether ``headrace serve`` has a gRPC port."""
    command = [sys.executable, "-m", "headrace.cli.main", "serve", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    return "--grpc-port" in done.stdout


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], http_port: int, grpc_port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Host]:
    """A server, from the moment it is ready to the end of the block.

    Raises:
        RuntimeError: it ended, or was not ready in time; with what it wrote last.
    """
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE if os.environ.get("HEADRACE_BENCHMARK_DEBUG") else subprocess.DEVNULL,
    ) as popen:
        process = psutil.Process(popen.pid)
        try:
            _wait(name, popen, http_port)
            ready = time.monotonic() - began
            yield Host(name, process, http_port, grpc_port, ready, cost_of(process))
        finally:
            children = process.children(recursive=True) if popen.poll() is None else []
            popen.terminate()
            try:
                popen.wait(30)
            except subprocess.TimeoutExpired:
                popen.kill()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


def _wait(name: str, popen: subprocess.Popen[bytes], port: int) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if popen.poll() is not None:
            raise RuntimeError(f"{name} ended with code {popen.returncode} before it was ready")
        if _is_ready(port):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{name} was not ready within {PATIENCE:g} s")


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
