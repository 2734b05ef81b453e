"""The hooks by which a model says that it can answer several requests in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from headrace.errors import HeadraceError
from headrace.models import tensors

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from headrace.models.kserve_api import InferRequest, InferResponse


@runtime_checkable
class Batchable(Protocol):
    """A model whose ``predict`` may be given several callers' requests merged into one."""

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """Requests with equal keys can be merged; None for one that must run alone."""

    def batch_rows(self, request: InferRequest) -> int:
        """How much of the largest batch this request takes."""

    def collate(self, requests: Sequence[InferRequest]) -> InferRequest:
        """One request that is all of these, in order."""

    def split(self, response: InferResponse, requests: Sequence[InferRequest]) -> list[InferResponse]:
        """The answer of each request out of the answer to their collation, in order."""


class TensorBatching:
    """The hooks for tensors that are alike but for their first axis: inputs are concatenated, outputs cut.

    A request may bring several rows of its own. Each answer has its request's ``id``.
    """

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """Names, types and shapes without the first axis; None where a tensor has no axis or the rows differ."""
        if not request.inputs or any(not tensor.shape for tensor in request.inputs):
            return None
        if len({tensor.shape[0] for tensor in request.inputs}) > 1:
            return None
        return tuple((tensor.name, tensor.datatype, *tensor.shape[1:]) for tensor in request.inputs)

    def batch_rows(self, request: InferRequest) -> int:
        """The length of the first axis."""
        return max(1, int(request.inputs[0].shape[0]))

    def collate(self, requests: Sequence[InferRequest]) -> InferRequest:
        """One request whose tensors are those of ``requests``, one after another."""
        first = requests[0]
        if len(requests) == 1:
            return first
        arrays = {
            tensor.name: np.concatenate([request.inputs[at].as_numpy() for request in requests])
            for at, tensor in enumerate(first.inputs)
        }
        return tensors.new_request(first.model_name, arrays, binary_output=False)

    def split(self, response: InferResponse, requests: Sequence[InferRequest]) -> list[InferResponse]:
        """The rows of every output, cut as the requests' first axes say.

        Raises:
            HeadraceError: an output does not have as many rows as went in.
        """
        counts = [int(request.inputs[0].shape[0]) for request in requests]
        arrays = {tensor.name: tensor.as_numpy() for tensor in response.outputs}
        for name, array in arrays.items():
            if not array.ndim or array.shape[0] != sum(counts):
                raise HeadraceError(
                    f"Output '{name}' of model '{response.model_name}' has shape {list(array.shape)} for "
                    f"{sum(counts)} rows: such a model cannot be batched"
                )
        ends = np.cumsum(counts).tolist()
        return [
            _answer(response, request, {name: array[end - count : end] for name, array in arrays.items()})
            for request, count, end in zip(requests, counts, ends, strict=True)
        ]


def _answer(response: InferResponse, request: InferRequest, arrays: dict[str, Any]) -> InferResponse:
    answer = tensors.new_response(response.model_name, arrays, response_id=request.id)
    answer.parameters = response.parameters
    answer.model_version = response.model_version
    return answer
