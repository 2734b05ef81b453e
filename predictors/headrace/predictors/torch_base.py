"""The base of predictors that run a torch network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from headrace.predictors.accelerator import Accelerator, accelerator_of, padded_rows
from headrace.predictors.cpu import cpu_limit
from headrace.predictors.tensor_base import TensorPredictor, TensorSpec, zeros
from headrace.predictors.weights import network_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

__all__ = ["TensorSpec", "TorchPredictor"]


class TorchPredictor(TensorPredictor):
    """A network behind v1 and v2, batched by the server.

    A subclass states ``inputs`` and ``outputs`` and builds the network in :meth:`network`; where the network takes
    or gives more than its tensors in order, it overrides :meth:`forward` as well. Runs in inference mode, with as
    many threads as the container may use CPUs, on the device and in the precision that
    :mod:`headrace.predictors.accelerator` finds in the environment. On CUDA devices it has not been run yet.

    Args:
        name: The model's name in paths and results.
        model: Where the weights are (see :mod:`headrace.models.storage`); empty for a network that needs none.
    """

    row_buckets: ClassVar[Sequence[int]] = (1, 2, 4, 8, 16, 32)
    """Batch sizes that a compiled network is padded up to: it is compiled for these alone, before it is ready."""

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model)
        self.accelerator = Accelerator(torch.device("cpu"))
        self.module: torch.nn.Module | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.accelerator.device

    def memory_bytes(self) -> int:
        """Bytes of the network's weights, for the server's memory budget."""
        return network_bytes(self.module) if self.module is not None else 0

    def network(self) -> torch.nn.Module:
        """Build the network with its weights; called once, off the event loop.

        Raises:
            ModelLoadError: the weights cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__} must define network()")

    def load(self) -> bool:
        """Choose device and threads, build the network and put it in evaluation mode."""
        torch.set_num_threads(cpu_limit())
        self.accelerator = accelerator_of()
        module = self.network().eval()
        for parameter in module.parameters():  # a module of TorchScript has no requires_grad_ of its own
            parameter.requires_grad_(False)
        self.module = self.accelerator.prepared(module)
        self.ready = True
        return True

    def warm_up(self) -> None:
        """Run once on zeros, so that no request pays for torch's first run; the server calls it before it is ready."""
        for rows in self.row_buckets if self.accelerator.compiled else (1,):
            if self.inputs:
                self.run({spec.name: zeros(spec, rows) for spec in self.inputs})

    def stop(self) -> None:
        """Free the network."""
        self.ready = False
        self.module = None

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The outputs by name; the network gets the inputs in order and gives one tensor or a tuple of them."""
        assert self.module is not None
        given = self.module(*inputs.values())
        parts = given if isinstance(given, (tuple, list)) else (given,)
        names = [spec.name for spec in self.outputs] or [f"output-{at}" for at in range(len(parts))]
        return dict(zip(names, parts, strict=True))

    def run(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run the network; padded up to a bucket where it is compiled."""
        accelerator = self.accelerator
        if not accelerator.compiled:
            return self._run_on(accelerator, arrays)
        padded, rows = padded_rows(arrays, self.row_buckets)
        return {name: part[:rows] for name, part in self._run_on(accelerator, padded).items()}

    def _run_on(
        self, accelerator: Accelerator, arrays: Mapping[str, np.ndarray[Any, Any]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        with accelerator.running():
            return accelerator.arrays(self.forward({name: accelerator.tensor(array) for name, array in arrays.items()}))
