"""KServe's own ModelServer with the same network, from its start to its first answer."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING

import orjson
from benchmarks.cold_start.ours import ColdStart
from benchmarks.serving.hosts import cost_of, free_port, kserve_command, running

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TARGET = "headrace.predictors.efficientnet:EfficientNetLite"
_LENGTH = "inference-header-content-length"


def measure(image: NDArray[np.float32]) -> ColdStart:
    """Start it, wait until it is ready, ask with the tensor of a picture (FP32 [1, 3, 224, 224])."""
    http, began = free_port(), time.monotonic()
    with running("kserve", kserve_command(TARGET, http, free_port(), quiet=True), http, 0) as host:
        with urllib.request.urlopen(_request(http, image), timeout=120) as answer:
            answer.read()
        seconds = time.monotonic() - began
        return ColdStart(seconds, cost_of(host.process).cpu, {})


def _request(port: int, image: NDArray[np.float32]) -> urllib.request.Request:
    """The quickest way in: the tensor as bytes (the protocol's binary extension)."""
    data = image.tobytes()
    tensor = {
        "name": "image",
        "datatype": "FP32",
        "shape": list(image.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    head = orjson.dumps({"inputs": [tensor]})
    headers = {"content-type": "application/octet-stream", _LENGTH: str(len(head))}
    return urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/m/infer", data=head + data, headers=headers)
