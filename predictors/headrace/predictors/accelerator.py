"""Where a network runs and how tensors get there and back.

The CUDA parts (pinned memory, copies that overlap, CUDA graphs through ``torch.compile``) have not been run on a GPU
yet; their logic is tested on a CPU.

    HEADRACE_DEVICE     cpu, cuda, cuda:1, ...; without it CUDA where there is one
    HEADRACE_AUTOCAST   bf16 or fp16: matrix products and convolutions in that precision
    HEADRACE_COMPILE    1: the network is compiled, once for each batch size that it is padded up to
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEVICE = "HEADRACE_DEVICE"
AUTOCAST = "HEADRACE_AUTOCAST"
COMPILE = "HEADRACE_COMPILE"
_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
_ON = {"1": True, "true": True, "": False, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A device, and how it is used."""

    device: torch.device
    precision: torch.dtype | None = None
    """Of autocast; None runs the network in the precision of its weights."""
    compiled: bool = False

    @property
    def on_cuda(self) -> bool:
        """Whether copies can overlap with other work."""
        return self.device.type == "cuda"

    def prepared(self, module: torch.nn.Module) -> torch.nn.Module:
        """The network on the device, compiled where that is asked for.

        On CUDA, ``reduce-overhead`` records a CUDA graph for each shape that comes, which is why shapes are to be few.
        """
        module = module.to(self.device)
        if not self.compiled:
            return module
        mode = "reduce-overhead" if self.on_cuda else "default"
        compiled: torch.nn.Module = torch.compile(module, mode=mode, dynamic=False)  # type: ignore[assignment]  # callable as the module is
        return compiled

    def tensor(self, array: np.ndarray[Any, Any]) -> torch.Tensor:
        """The array on the device; on CUDA by way of pinned memory, while the processor goes on."""
        # torch warns of arrays that it must not write to; those are views of bytes objects.
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.on_cuda else tensor.to(self.device)

    def arrays(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs as numpy arrays; half precision, which not every numpy has, as FP32.

        On CUDA all copies are begun before the first is waited for.
        """
        whole = {name: part.float() if part.dtype in _PRECISIONS.values() else part for name, part in outputs.items()}
        if not self.on_cuda:
            return {name: part.cpu().numpy() for name, part in whole.items()}
        there = {name: torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for name, part in whole.items()}
        for name, part in whole.items():
            there[name].copy_(part, non_blocking=True)
        torch.cuda.current_stream(self.device).synchronize()
        return {name: part.numpy() for name, part in there.items()}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inference mode, and autocast where a precision is set."""
        with torch.inference_mode():
            if self.precision is None:
                yield
            else:
                with torch.autocast(self.device.type, dtype=self.precision):
                    yield


def accelerator_of(environment: Mapping[str, str] = os.environ) -> Accelerator:
    """What the environment asks for.

    Raises:
        ConfigurationError: naming the variable, for a device, a precision or a switch that there is not.
    """
    named = environment.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(named)
    except RuntimeError as fault:
        raise ConfigurationError(f"{DEVICE}={named!r} is no device of torch", hint="cpu, cuda or cuda:N") from fault
    precision = environment.get(AUTOCAST, "")
    if precision and precision not in _PRECISIONS:
        raise ConfigurationError(f"{AUTOCAST}={precision!r} is no precision", hint="bf16 or fp16")
    switch = environment.get(COMPILE, "").lower()
    if switch not in _ON:
        raise ConfigurationError(f"{COMPILE}={switch!r} is neither 1 nor 0")
    return Accelerator(device, _PRECISIONS.get(precision), _ON[switch])


def padded_rows(
    arrays: Mapping[str, np.ndarray[Any, Any]], buckets: Sequence[int]
) -> tuple[dict[str, np.ndarray[Any, Any]], int]:
    """The arrays with as many rows as the next bucket has, and how many of them are real.

    The last row is repeated: unlike zeros, it is surely something that the network can take. More rows than the
    largest bucket stay as they are.

    Args:
        arrays: All of the same number of rows.
        buckets: Batch sizes, ascending.
    """
    rows = min(len(array) for array in arrays.values())
    at = bisect_left(buckets, rows)
    missing = buckets[at] - rows if at < len(buckets) and rows else 0
    if not missing:
        return dict(arrays), rows
    padded = {name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for name, array in arrays.items()}
    return padded, rows
