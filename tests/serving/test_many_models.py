"""Real networks, more than fit in memory, in one server process."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import save_file

from headrace.models.kserve_api import messages, services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDE = 2048
BYTES = 4 * (WIDE * WIDE + WIDE)
CODE = """
import torch
from headrace.models.storage import model_path
from headrace.predictors.torch_base import TensorSpec, TorchPredictor
from headrace.predictors.weights import load_network

class Wide(TorchPredictor):
    inputs = (TensorSpec("x", "FP32", (-1, 2048)),)
    outputs = (TensorSpec("y", "FP32", (-1, 2048)),)

    def network(self):
        return copied(load_network(lambda: torch.nn.Linear(2048, 2048), model_path(self.model)))

def copied(network):
    # Memory of its own, and not the file's pages: what an eviction must give back.
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
    return network
"""


def weights(folder: Path, number: int) -> str:
    """A file with a network that answers the sum of its input times ``number``, everywhere."""
    tensors = {"weight": torch.full((WIDE, WIDE), float(number)), "bias": torch.zeros(WIDE)}
    save_file(tensors, folder / f"{number}.safetensors")
    return str(folder / f"{number}.safetensors")


@pytest.mark.slow
def test_more_networks_than_memory(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Each answers as it should when it is asked; the process holds no more than the budget; gRPC takes one out."""
    (tmp_path / "wide.py").write_text(CODE)
    others = [f"--also=m{number}=wide.py:Wide@{weights(tmp_path, number)}" for number in (2, 3, 4)]
    first = ("--class", "wide.py:Wide", "--name", "m1", "--model", weights(tmp_path, 1), "--model-memory", "40Mi")
    process = serve(*first, *others)
    url = process.url()
    rpc = process.wait_for(r"gRPC on (127\.0\.0\.1:\d+)")
    process.ready()

    async def use() -> None:
        async with aiohttp.ClientSession(url) as session, grpc.aio.insecure_channel(rpc) as channel:
            assert await states(session) == ["READY", "READY", "UNAVAILABLE", "UNAVAILABLE"]
            before = psutil.Process(process.process.pid).memory_info()
            for number in (1, 2, 3, 4, 1, 2, 3, 4, 4, 1):
                assert await asked(session, number) == 2 * WIDE * number
                assert (await states(session)).count("READY") <= 2
            after = psutil.Process(process.process.pid).memory_info()
            assert after.rss - before.rss < BYTES, "what leaves gives its memory back"
            page = await (await session.get("/metrics")).text()
            assert (
                float(re.findall(r'^headrace_model_memory_bytes\{model="m1"\} (\S+)', page, re.MULTILINE)[0]) == BYTES
            )
            assert float(re.findall(r"^headrace_model_evictions_total (\S+)", page, re.MULTILINE)[0]) >= 7
            stub = services.GRPCInferenceServiceStub(channel)
            await stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="m1"))
            assert (await session.post("/v2/models/m1/infer", json=body())).status == 404
            await stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="m1"))
            assert await asked(session, 1) == 2 * WIDE

    asyncio.run(asyncio.wait_for(use(), 100))
    assert process.end() == 0


def body() -> dict[str, Any]:
    """A row of twos."""
    row = np.full((1, WIDE), 2.0, np.float32)
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, WIDE], "data": row.ravel().tolist()}]}


async def asked(session: aiohttp.ClientSession, number: int) -> float:
    """What the model answers everywhere."""
    answer = await session.post(f"/v2/models/m{number}/infer", json=body())
    assert answer.status == 200, await answer.text()
    values = set((await answer.json())["outputs"][0]["data"])
    assert len(values) == 1
    return float(values.pop())


async def states(session: aiohttp.ClientSession) -> list[str]:
    """The models' states, in the order in which they were given."""
    return [line["state"] for line in await (await session.post("/v2/repository/index")).json()]
