"""What is asked of the servers: one case a protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.serving.load import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

BATCH = 64
ROW = [1.5, 2.5, 3.5, 4.5]
PICTURE = (1, 3, 224, 224)
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Target:
    """What the architecture asks for."""

    ratio: float | None = None
    """Of KServe's figure, at most."""
    micros: float | None = None
    """Microseconds of server CPU, at most."""

    def __str__(self) -> str:
        parts = [f"<= {self.ratio:g}x"] if self.ratio is not None else []
        return ", ".join([*parts, f"<= {self.micros:g} us"] if self.micros is not None else parts)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request to one model."""

    name: str
    target: str
    """The model's class."""
    request: HttpRequest | None
    grpc: Any = None
    """A ``ModelInferRequest`` where it is a gRPC case."""
    kserve: HttpRequest | None = None
    """What KServe is asked instead, where it does not know the request at all."""
    events: int = 1
    """Inferences in one request."""
    goal: Target | None = None
    share: int = 1
    """A fraction of the usual number of requests is sent: of heavy ones fewer are enough."""


def cases() -> list[Case]:
    """All cases; of a batch of events KServe knows nothing, and is asked one by one."""
    return [*_echoes(), *_tensors()]


def _echoes() -> list[Case]:
    echo = "benchmarks.serving.models:Echo"
    v1 = json.dumps({"instances": [ROW]}).encode()
    v2 = json.dumps({"id": "1", "inputs": [_tensor("x", [1, 4], ROW)]}).encode()
    event = HttpRequest("/v1/models/m:predict", {**_JSON, **_event_headers()}, v1)
    batch = json.dumps([_event(str(number)) for number in range(BATCH)]).encode()
    batched = HttpRequest("/", {"content-type": "application/cloudevents-batch+json"}, batch)
    fifth = Target(ratio=0.2)
    return [
        Case("v1", echo, HttpRequest("/v1/models/m:predict", _JSON, v1)),
        Case("v2 REST", echo, HttpRequest("/v2/models/m/infer", _JSON, v2)),
        Case("v2 gRPC", echo, None, grpc=_grpc_request(np.array([ROW], np.float32))),
        Case("event, binary mode", echo, event, goal=fifth),
        Case(
            "events, batch of 64", echo, batched, kserve=event, events=BATCH, goal=Target(micros=25.0), share=16
        ),
    ]  # fmt: skip


def _tensors() -> list[Case]:
    mean = "benchmarks.serving.models:Mean"
    array = np.random.default_rng(7).standard_normal(PICTURE, dtype=np.float32)
    head = {"id": "1", "inputs": [_tensor("x", list(PICTURE), None, binary_data_size=array.nbytes)]}
    text = json.dumps(head).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))}
    request = HttpRequest("/v2/models/m/infer", headers, text + array.tobytes())
    return [
        Case("picture tensor, v2 REST binary", mean, request, goal=Target(micros=2000.0), share=16),
        Case("picture tensor, v2 gRPC raw", mean, None, grpc=_grpc_request(array), share=16),
    ]


def _tensor(name: str, shape: list[int], data: Any, **parameters: Any) -> dict[str, Any]:
    own = {"parameters": parameters} if parameters else {"data": data}
    return {"name": name, "shape": shape, "datatype": "FP32", **own}


def _grpc_request(array: Any) -> Any:
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # noqa: PLC0415  # kserve is slow to import

    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=list(array.shape))
    return pb.ModelInferRequest(model_name="m", id="1", inputs=[tensor], raw_input_contents=[array.tobytes()])


def _event_headers() -> Mapping[str, str]:
    return {f"ce-{name}": str(value) for name, value in _event("1").items() if name != "data"}


def _event(number: str) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": number,
        "source": "/benchmark",
        "type": "com.example.row",
        "subject": f"row-{number}",
        "time": "2026-01-01T00:00:00Z",
        "partitionkey": number,
        "data": {"instances": [ROW]},
    }
