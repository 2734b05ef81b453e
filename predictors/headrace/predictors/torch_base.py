"""The base of predictors that run a torch network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from headrace.errors import InvalidInputError
from headrace.models import datatypes, tensors
from headrace.models.batching import TensorBatching
from headrace.models.hooks import never_waits
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.models.kserve_faults import StatusUnderKServe
from headrace.predictors.accelerator import Accelerator, accelerator_of, padded_rows
from headrace.predictors.cpu import cpu_limit

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a network."""

    name: str
    datatype: str
    """Of the Open Inference Protocol: FP32, INT64, ..."""
    shape: tuple[int, ...]
    """-1 stands for any length; the first axis is the batch."""

    def accepts(self, shape: list[int]) -> bool:
        """Whether a tensor of this shape fits."""
        return len(shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, shape, strict=True)
        )


class TorchPredictor(StatusUnderKServe, TensorBatching, Model):
    """A network behind v1 and v2, batched by the server.

    A subclass states ``inputs`` and ``outputs`` and builds the network in :meth:`network`; where the network takes
    or gives more than its tensors in order, it overrides :meth:`forward` as well. Runs in inference mode, with as
    many threads as the container may use CPUs, on the device and in the precision that
    :mod:`headrace.predictors.accelerator` finds in the environment. On CUDA devices it has not been run yet.

    Args:
        name: The model's name in paths and results.
        model: Where the weights are (see :mod:`headrace.models.storage`); empty for a network that needs none.
    """

    inputs: ClassVar[tuple[TensorSpec, ...]] = ()
    outputs: ClassVar[tuple[TensorSpec, ...]] = ()
    row_buckets: ClassVar[Sequence[int]] = (1, 2, 4, 8, 16, 32)
    """Batch sizes that a compiled network is padded up to: it is compiled for these alone, before it is ready."""

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name)
        self.model = model
        self.accelerator = Accelerator(torch.device("cpu"))
        self.module: torch.nn.Module | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.accelerator.device

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
        self.module = self.accelerator.prepared(self.network().eval().requires_grad_(False))
        self.ready = True
        return True

    def warm_up(self) -> None:
        """Run once on zeros, so that no request pays for torch's first run; the server calls it before it is ready."""
        for rows in self.row_buckets if self.accelerator.compiled else (1,):
            if self.inputs:
                self._run({spec.name: _zeros(spec, rows) for spec in self.inputs})

    def stop(self) -> None:
        """Free the network."""
        self.ready = False
        self.module = None

    def get_input_types(self) -> list[dict[str, Any]]:
        """The inputs, as v2 metadata."""
        return [_metadata(spec) for spec in self.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The outputs, as v2 metadata."""
        return [_metadata(spec) for spec in self.outputs]

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """As :class:`TensorBatching`; requests with parameters of their own run alone."""
        own = set(request.parameters or {}) - {"binary_data_output", getattr(self, "state_key", "")}
        return None if own else super().batch_key(request)

    @never_waits
    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """The request, checked against ``inputs``; v1 ``instances`` become the first input.

        Raises:
            InvalidInputError: bytes, or tensors that are not those of ``inputs``.
        """
        del headers
        request = payload if isinstance(payload, InferRequest) else self._from_v1(payload)
        for spec in self.inputs:
            self._check(request, spec)
        return request

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """Run the network on one request, or on several that the server has merged."""
        del headers
        arrays = self._run({tensor.name: tensor.as_numpy() for tensor in payload.inputs})
        binary = payload.use_binary_outputs
        return _marked(tensors.new_response(self.name, arrays, response_id=payload.id, binary=binary), payload)

    def split(self, response: InferResponse, requests: Sequence[InferRequest]) -> list[InferResponse]:
        """As :class:`TensorBatching`; answers remember whether their request came as v1."""
        answers = super().split(response, requests)
        return [_marked(answer, request) for answer, request in zip(answers, requests, strict=True)]

    @never_waits
    async def postprocess(
        self, result: InferResponse, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> Any:
        """The response as it is, or v1 ``predictions`` where the request came as v1."""
        del headers, response_headers
        if not getattr(result, "v1", False):
            return result
        arrays = {tensor.name: tensor.as_numpy() for tensor in result.outputs}
        if len(arrays) == 1:
            return {"predictions": next(iter(arrays.values())).tolist()}
        rows = zip(*(array.tolist() for array in arrays.values()), strict=True)
        return {"predictions": [dict(zip(arrays, row, strict=True)) for row in rows]}

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The outputs by name; the network gets the inputs in order and gives one tensor or a tuple of them."""
        assert self.module is not None
        given = self.module(*inputs.values())
        parts = given if isinstance(given, (tuple, list)) else (given,)
        names = [spec.name for spec in self.outputs] or [f"output-{at}" for at in range(len(parts))]
        return dict(zip(names, parts, strict=True))

    def _run(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
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

    def _from_v1(self, payload: Any) -> InferRequest:
        instances = payload.get("instances") if isinstance(payload, dict) else None
        if not isinstance(instances, list) or not instances:
            raise InvalidInputError(f"Model '{self.name}' reads tensors: v2 'inputs', or v1 {{'instances': [...]}}")
        if not self.inputs:
            raise InvalidInputError(f"Model '{self.name}' states no inputs and so reads v2 requests only")
        spec = self.inputs[0]
        try:
            array = np.array(instances, dtype=datatypes.NUMPY[spec.datatype])
        except (ValueError, TypeError, OverflowError) as fault:
            raise InvalidInputError(f"Model '{self.name}': 'instances' are no {spec.datatype} tensor") from fault
        return tensors.new_request(self.name, {spec.name: array}, binary_output=False, v1=True)

    def _check(self, request: InferRequest, spec: TensorSpec) -> None:
        tensor = request.get_input_by_name(spec.name)
        if tensor is None:
            raise InvalidInputError(f"Model '{self.name}' needs the input '{spec.name}'")
        if tensor.datatype != spec.datatype or not spec.accepts(tensor.shape):
            raise InvalidInputError(
                f"Model '{self.name}': input '{spec.name}' must be {spec.datatype} {list(spec.shape)}, "
                f"got {tensor.datatype} {list(tensor.shape)}"
            )


def _marked(response: InferResponse, request: InferRequest) -> InferResponse:
    response.v1 = getattr(request, "v1", False)
    return response


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _zeros(spec: TensorSpec, rows: int) -> np.ndarray[Any, Any]:
    lengths = [1 if length < 0 else length for length in spec.shape[1:]]
    return np.zeros([rows if spec.shape[0] < 0 else spec.shape[0], *lengths], datatypes.NUMPY[spec.datatype])
