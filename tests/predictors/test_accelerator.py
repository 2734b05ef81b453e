"""Where a network runs: what the environment asks for, and what happens to tensors on the way. On a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from headrace.errors import ConfigurationError
from headrace.predictors.accelerator import Accelerator, accelerator_of, padded_rows
from headrace.predictors.torch_base import TensorSpec, TorchPredictor

CPU = torch.device("cpu")


class Sums(TorchPredictor):
    """Sums each row."""

    inputs = (TensorSpec("x", "FP32", (-1, 3)),)
    outputs = (TensorSpec("sum", "FP32", (-1, 1)),)
    row_buckets = (1, 4)

    def network(self) -> torch.nn.Module:
        """A layer of ones."""
        layer = torch.nn.Linear(3, 1, bias=False)
        torch.nn.init.ones_(layer.weight)
        return layer


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HEADRACE_DEVICE": "cpu"}, Accelerator(CPU)),
        ({"HEADRACE_DEVICE": "cuda:1"}, Accelerator(torch.device("cuda", 1))),
        ({"HEADRACE_DEVICE": "cpu", "HEADRACE_AUTOCAST": "bf16"}, Accelerator(CPU, torch.bfloat16)),
        ({"HEADRACE_DEVICE": "cpu", "HEADRACE_COMPILE": "1"}, Accelerator(CPU, compiled=True)),
    ],
)
def test_the_environment_chooses(environment: dict[str, str], expected: Accelerator) -> None:
    """Device, precision and compilation, each by its own variable."""
    assert accelerator_of(environment) == expected


@pytest.mark.parametrize("setting", ["HEADRACE_DEVICE=gpu", "HEADRACE_AUTOCAST=int8", "HEADRACE_COMPILE=maybe"])
def test_what_there_is_not_is_named(setting: str) -> None:
    """The message has the variable and its value."""
    name, value = setting.split("=")
    with pytest.raises(ConfigurationError, match=f"{name}='{value}'"):
        accelerator_of({name: value})


def test_rows_are_padded_to_the_next_batch_size() -> None:
    """With the last row; how many are real is told. Beyond the largest size, and without rows, nothing is changed."""
    arrays = {"x": np.arange(3), "y": np.arange(6).reshape(3, 2)}
    padded, rows = padded_rows(arrays, (1, 4, 8))
    assert (rows, padded["x"].tolist(), padded["y"][-1].tolist()) == (3, [0, 1, 2, 2], [4, 5])
    for size in (0, 1, 4, 9):
        same, count = padded_rows({"x": np.zeros(size)}, (1, 4, 8))
        assert (len(same["x"]), count) == (size, size)


def test_autocast_runs_in_half_precision_and_answers_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum that bfloat16 cannot hold comes back rounded, as FP32."""
    monkeypatch.setenv("HEADRACE_DEVICE", "cpu")
    monkeypatch.setenv("HEADRACE_AUTOCAST", "bf16")
    model = Sums("m")
    model.load()
    given = model.run({"x": np.array([[256, 1, 0]], np.float32)})["sum"]
    assert given.dtype == np.float32
    assert given.tolist() == [[256.0]]


def test_a_compiled_network_sees_few_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is warmed up on each of its sizes, and runs on nothing else; answers are cut back to what was asked."""
    seen: list[int] = []

    def compiled(module: torch.nn.Module, **options: Any) -> Any:
        assert options == {"mode": "default", "dynamic": False}

        def call(tensor: torch.Tensor) -> torch.Tensor:
            seen.append(len(tensor))
            result: torch.Tensor = module(tensor)
            return result

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setenv("HEADRACE_DEVICE", "cpu")
    monkeypatch.setenv("HEADRACE_COMPILE", "1")
    model = Sums("m")
    model.load()
    model.warm_up()
    given = model.run({"x": np.arange(9, dtype=np.float32).reshape(3, 3)})["sum"]
    assert given.tolist() == [[3.0], [12.0], [21.0]]
    assert seen == [1, 4, 4]


def test_on_cuda_copies_go_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned, then copied without waiting; back into pinned memory, and only then is the stream waited for."""
    steps: list[str] = []

    class Recorded(torch.Tensor):
        def pin_memory(self, device: Any = None) -> Any:
            steps.append("pin")
            return self

        def to(self, *_where: Any, **how: Any) -> Any:
            steps.append(f"to non_blocking={how.get('non_blocking')}")
            return self

        def copy_(self, other: Any, non_blocking: bool = False) -> Any:  # noqa: FBT002  # torch's signature
            steps.append(f"copy non_blocking={non_blocking}")
            return super().copy_(other)

    class Stream:
        def synchronize(self) -> None:
            steps.append("wait")

    empty = torch.empty
    monkeypatch.setattr(torch, "from_numpy", lambda array: torch.tensor(array.tolist()).as_subclass(Recorded))
    monkeypatch.setattr(
        torch, "empty", lambda *shape, dtype, pin_memory: _pinned(empty, shape, dtype, pin_memory, Recorded)
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: Stream())
    accelerator = Accelerator(torch.device("cuda"))
    tensor = accelerator.tensor(np.ones(2, np.float32))
    given = accelerator.arrays({"y": tensor, "z": tensor})
    assert given["y"].tolist() == given["z"].tolist() == [1.0, 1.0]
    assert steps == ["pin", "to non_blocking=True", "copy non_blocking=True", "copy non_blocking=True", "wait"]


def _pinned(empty: Any, shape: Any, dtype: Any, pinned: bool, kind: Any) -> Any:
    assert pinned
    return empty(*shape, dtype=dtype).as_subclass(kind)
