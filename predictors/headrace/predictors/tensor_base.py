"""The base of predictors that run a network or another model on tensors, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InvalidInputError
from headrace.models import datatypes, tensors
from headrace.models.batching import TensorBatching
from headrace.models.hooks import never_waits
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.models.kserve_faults import StatusUnderKServe

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

ANY = ""
"""Stands for every data type, where a model's file does not say which it reads."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a network."""

    name: str
    datatype: str
    """Of the Open Inference Protocol: FP32, INT64, ..."""
    shape: tuple[int, ...]
    """-1 stands for any length; the first axis is the batch."""
    any_shape: bool = False
    """Whether ``shape`` says nothing: the model's file does not tell it."""

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape fits."""
        return self.any_shape or (
            len(shape) == len(self.shape)
            and all(want in (-1, have) for want, have in zip(self.shape, shape, strict=True))
        )

    @property
    def batched(self) -> bool:
        """Whether the first axis may be of any length."""
        return self.any_shape or (bool(self.shape) and self.shape[0] == -1)


class TensorPredictor(StatusUnderKServe, TensorBatching, Model):
    """A model behind v1 and v2, batched by the server.

    A subclass states ``inputs`` and ``outputs``, as class attributes or while it loads, and has :meth:`run`.

    Args:
        name: The model's name in paths and results.
        model: Where its files are (see :mod:`headrace.models.storage`); empty for a model that needs none.
    """

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name)
        self.model = model

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs by name; called off the event loop, for one request or for several in one.

        Args:
            arrays: The inputs by name, as ``inputs`` has them.
        """
        raise NotImplementedError(f"{type(self).__name__} must define run()")

    def get_input_types(self) -> list[dict[str, Any]]:
        """The inputs, as v2 metadata; without those whose type or shape the model does not tell."""
        return _metadata(self.inputs)

    def get_output_types(self) -> list[dict[str, Any]]:
        """The outputs, as v2 metadata; without those whose type or shape the model does not tell."""
        return _metadata(self.outputs)

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """As :class:`TensorBatching`; None with parameters of its own, and for all where a first axis is fixed."""
        own = set(request.parameters or {}) - {"binary_data_output", getattr(self, "state_key", "")}
        if own or not all(spec.batched for spec in (*self.inputs, *self.outputs)):
            return None
        return super().batch_key(request)

    @never_waits
    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """The request, checked against ``inputs``.

        v1 ``instances`` become the first input; where each is an object, its members become the inputs of their names.

        Raises:
            InvalidInputError: bytes, or tensors that are not those of ``inputs``; names the tensor.
        """
        del headers
        request = payload if isinstance(payload, InferRequest) else self._from_v1(payload)
        for spec in self.inputs:
            self._check(request, spec)
        return request

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """Run the model on one request, or on several that the server has merged."""
        del headers
        arrays = self.run({tensor.name: tensor.as_numpy() for tensor in payload.inputs})
        binary = payload.use_binary_outputs
        return marked(tensors.new_response(self.name, arrays, response_id=payload.id, binary=binary), payload)

    def split(self, response: InferResponse, requests: Sequence[InferRequest]) -> list[InferResponse]:
        """As :class:`TensorBatching`; answers remember whether their request came as v1."""
        answers = super().split(response, requests)
        return [marked(answer, request) for answer, request in zip(answers, requests, strict=True)]

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

    def _from_v1(self, payload: Any) -> InferRequest:
        instances = payload.get("instances") if isinstance(payload, dict) else None
        if not isinstance(instances, list) or not instances:
            raise InvalidInputError(f"Model '{self.name}' reads tensors: v2 'inputs', or v1 {{'instances': [...]}}")
        if not self.inputs:
            raise InvalidInputError(f"Model '{self.name}' states no inputs and so reads v2 requests only")
        arrays = {spec.name: self._v1_array(spec, rows) for spec, rows in self._columns(instances)}
        return tensors.new_request(self.name, arrays, binary_output=False, v1=True)

    def _columns(self, instances: list[Any]) -> list[tuple[TensorSpec, list[Any]]]:
        if not all(isinstance(instance, dict) for instance in instances):
            return [(self.inputs[0], instances)]
        named = [spec for spec in self.inputs if any(spec.name in instance for instance in instances)]
        for at, instance in enumerate(instances):
            missing = [spec.name for spec in named or self.inputs if spec.name not in instance]
            if missing:
                raise InvalidInputError(f"Model '{self.name}': instance {at} has no '{missing[0]}'")
        return [(spec, [instance[spec.name] for instance in instances]) for spec in named]

    def _v1_array(self, spec: TensorSpec, rows: list[Any]) -> NDArray[Any]:
        try:
            if spec.datatype == datatypes.BYTES:
                return np.array(rows, dtype=np.object_)
            if spec.datatype == ANY:
                found = np.array(rows)
                return found.astype(np.int64 if found.dtype.kind in "ui" else np.float32)
            return np.array(rows, dtype=datatypes.NUMPY[spec.datatype])
        except (ValueError, TypeError, OverflowError) as fault:
            which = "'instances'" if spec is self.inputs[0] else f"'{spec.name}' of the instances"
            raise InvalidInputError(
                f"Model '{self.name}': {which} are no {spec.datatype or 'whole'} tensor '{spec.name}'"
            ) from fault

    def _check(self, request: InferRequest, spec: TensorSpec) -> None:
        tensor = request.get_input_by_name(spec.name)
        if tensor is None:
            raise InvalidInputError(f"Model '{self.name}' needs the input '{spec.name}'")
        if spec.datatype not in (ANY, tensor.datatype) or not spec.accepts(tensor.shape):
            raise InvalidInputError(
                f"Model '{self.name}': input '{spec.name}' must be {spec.datatype} {list(spec.shape)}, "
                f"got {tensor.datatype} {list(tensor.shape)}"
            )


def marked(response: InferResponse, request: InferRequest) -> InferResponse:
    """The response, remembering whether its request came as v1."""
    response.v1 = getattr(request, "v1", False)
    return response


def zeros(spec: TensorSpec, rows: int) -> NDArray[Any]:
    """A tensor that fits, as small as may be but for its rows; texts are empty."""
    lengths = [1 if length < 0 else length for length in spec.shape]
    if spec.batched and lengths:
        lengths[0] = rows
    if spec.datatype == datatypes.BYTES:
        return np.full(lengths, "", dtype=np.object_)
    return np.zeros(lengths, datatypes.NUMPY[spec.datatype or "FP32"])


def _metadata(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
        for spec in specs
        if spec.datatype != ANY and not spec.any_shape
    ]
