"""One of the real networks, called in full batches with nothing around it: the rate that a server can only approach."""

from __future__ import annotations

import importlib
import json
import sys
import time

import numpy as np

from headrace.serving.execution.allocator import keep_memory


def main() -> None:
    """Print inputs a second, and CPU seconds an input."""
    keep_memory()  # as the server does: what is compared is the way to the network, not the allocator
    asked = json.loads(sys.argv.pop(1))
    module, _, name = asked["target"].partition(":")
    model = getattr(importlib.import_module(module), name)("m")
    model.load()
    rows = asked["rows"]
    arrays = {
        name: np.ones((rows, *shape), np.float32 if datatype == "FP32" else np.int64)
        for name, (datatype, shape) in asked["inputs"].items()
    }
    model._run(arrays)  # noqa: SLF001  # the network and nothing else
    began, cpu = time.perf_counter(), time.process_time()
    runs = max(1, asked["count"] // rows)
    for _ in range(runs):
        model._run(arrays)  # noqa: SLF001
    count = runs * rows
    print(json.dumps([count / (time.perf_counter() - began), (time.process_time() - cpu) / count]))


if __name__ == "__main__":
    main()
