"""Real networks behind the server, as a share of what the same network does in batches by hand."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.serving import load
from benchmarks.serving.hosts import ROOT, free_port, headrace_command, running
from benchmarks.serving.load import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.serving.hosts import Host

GOAL = 0.9
CALLERS = 64
ROWS = 32
"""Rows of a batch by hand; the server's own bound."""


@dataclass(frozen=True, slots=True)
class Real:
    """A predictor, and what a request to it looks like."""

    name: str
    target: str
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    """Input name to its type and the shape of one row."""
    requests: int
    """In one measurement."""


@dataclass(frozen=True, slots=True)
class Share:
    """Medians of the rounds."""

    model: str
    raw: float
    """Inputs a second by hand."""
    served: float
    """Inputs a second through the server."""
    share: float
    cpu_share: float
    """CPU of an input by hand as a share of the server's: steadier where others use the machine."""
    goal: float = GOAL

    @property
    def met(self) -> bool:
        """Whether either share reaches the goal: time on a machine of one's own, CPU on a shared one."""
        return self.share >= self.goal


def _texts(length: int) -> Real:
    ids = ("INT64", (length,))
    target = "headrace.predictors.minilm:MiniLM"
    return Real(f"MiniLM-L6, {length} tokens", target, {"input_ids": ids, "attention_mask": ids}, 8192 // length)


MODELS = (
    _texts(16),
    _texts(64),
    Real(
        "EfficientNet-Lite0, 224x224",
        "headrace.predictors.efficientnet:EfficientNetLite",
        {"image": ("FP32", (3, 224, 224))},
        64,
    ),
)


def shares(rounds: int, named: str, told: Callable[[str], None]) -> list[Share]:
    """The share of every real model whose name holds ``named``; ``told`` hears what is being done."""
    return [_share(real, rounds, told) for real in MODELS if named in real.name]


def _share(real: Real, rounds: int, told: Callable[[str], None]) -> Share:
    told(f"{real.name}, {CALLERS} at a time, beside the same by hand")
    http = free_port()
    request = _request(real)
    raw: list[tuple[float, float]] = []
    served: list[tuple[float, float]] = []
    with running("headrace", headrace_command(real.target, http, 0), http, 0) as host:
        asyncio.run(load.post(http, request, CALLERS, CALLERS))
        for _ in range(rounds):
            raw.append(_by_hand(real))
            served.append(_through(host, request, real.requests))
    return Share(
        real.name,
        median(rate for rate, _ in raw),
        median(rate for rate, _ in served),
        median(ours[0] / theirs[0] for ours, theirs in zip(served, raw, strict=True)),
        median(theirs[1] / ours[1] for ours, theirs in zip(served, raw, strict=True)),
    )


def _through(host: Host, request: HttpRequest, count: int) -> tuple[float, float]:
    cpu, began = host.cpu(), time.perf_counter()
    asyncio.run(load.post(host.http_port, request, CALLERS, count))
    return count / (time.perf_counter() - began), (host.cpu() - cpu) / count


def _by_hand(real: Real) -> tuple[float, float]:
    """Inputs a second and CPU seconds an input, in a process of its own, so that nothing of the server is in it."""
    asked = json.dumps({"target": real.target, "inputs": real.inputs, "rows": ROWS, "count": real.requests})
    command = [sys.executable, "-m", "benchmarks.serving.by_hand", asked]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
    rate, cpu = json.loads(done.stdout.splitlines()[-1])
    return float(rate), float(cpu)


def _request(real: Real) -> HttpRequest:
    random = np.random.default_rng(7)
    parts, tensors = [], []
    for name, (datatype, shape) in real.inputs.items():
        array = (
            random.standard_normal((1, *shape), dtype=np.float32)
            if datatype == "FP32"
            else np.ones((1, *shape), np.int64)
        )
        parts.append(array.tobytes())
        tensors.append(
            {"name": name, "shape": [1, *shape], "datatype": datatype, "parameters": {"binary_data_size": array.nbytes}}
        )
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return HttpRequest("/v2/models/m/infer", headers, head + b"".join(parts))
