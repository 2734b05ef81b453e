"""The hooks by which a model says that it can answer several requests in one run."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from headrace.errors import HeadraceError
from headrace.models import tensors

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from headrace.models.kserve_api import InferRequest, InferResponse


@runtime_checkable
class Batchable(Protocol):
    """A model whose ``predict`` may be given several callers' requests merged into one.

    ``batch_key`` and ``batch_rows`` are called on the event loop for each request; ``collate`` in a thread of its own
    while the model may be running: none of the four may touch what ``predict`` changes.
    """

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """Requests with equal keys can be merged; None for one that must run alone."""

    def batch_rows(self, request: InferRequest) -> int:
        """How much of the largest batch this request takes."""

    def collate(self, requests: Sequence[InferRequest]) -> InferRequest:
        """One request that is all of these, in order."""

    def split(self, response: InferResponse, requests: Sequence[InferRequest]) -> list[InferResponse]:
        """The answer of each request out of the answer to their collation, in order."""


@runtime_checkable
class CountsTokens(Protocol):
    """A model whose batches are bounded by tokens (``--max-batch-tokens``) as well."""

    def batch_tokens(self, request: InferRequest) -> int:
        """The length of the request's longest row; a batch has its rows times the longest of all."""


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


class PaddedBatching(TensorBatching):
    """The hooks for rows of different lengths: texts, sounds. Shorter ones are padded at their end.

    A subclass names the axis that differs, for each input that has one. The network must not let the padding change
    an answer: it gets a mask as one of the inputs (padded with 0), or ignores the padding by itself.
    """

    padded: ClassVar[Mapping[str, int]] = {}
    """Input name to the axis, from 1 on, along which rows differ."""
    pad_values: ClassVar[Mapping[str, Any]] = {}
    """What an input is filled up with; 0 where it is not named."""
    cut: ClassVar[Mapping[str, int]] = {}
    """Output name to the axis, from 1 on, that is as long as the padded input: cut back to each request's length."""
    buckets: ClassVar[Sequence[int]] = ()
    """Lengths that rows are padded up to, ascending. Only requests of the same bucket go together, so that a short one
    never pays for a long one, and a compiled network sees few shapes. Without: up to the longest of the batch."""

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """As :class:`TensorBatching`, with the bucket in place of the length; None for one longer than every bucket."""
        if super().batch_key(request) is None:
            return None
        length = self.batch_tokens(request)
        bucket = self._bucket(length)
        if self.buckets and bucket == length > self.buckets[-1]:
            return None
        return (bucket if self.buckets else 0, *(self._shape_key(tensor) for tensor in request.inputs))

    def batch_tokens(self, request: InferRequest) -> int:
        """The length of the request's rows along the padded axis; 1 where it has none."""
        lengths = [int(tensor.shape[self.padded[tensor.name]]) for tensor in request.inputs if self._is_padded(tensor)]
        return max(lengths, default=1)

    def collate(self, requests: Sequence[InferRequest]) -> InferRequest:
        """One request whose tensors are those of ``requests``, one below another, padded to one length."""
        length = self._bucket(max(self.batch_tokens(request) for request in requests))
        first = requests[0]
        arrays = {}
        for at, tensor in enumerate(first.inputs):
            parts = [request.inputs[at].as_numpy() for request in requests]
            arrays[tensor.name] = (
                self._joined(tensor.name, parts, length) if self._is_padded(tensor) else np.concatenate(parts)
            )
        return tensors.new_request(first.model_name, arrays, binary_output=False)

    def split(self, response: InferResponse, requests: Sequence[InferRequest]) -> list[InferResponse]:
        """As :class:`TensorBatching`; outputs named in ``cut`` are as long as their request was."""
        answers = super().split(response, requests)
        if not self.cut:
            return answers
        return [self._cut(answer, request) for answer, request in zip(answers, requests, strict=True)]

    def _is_padded(self, tensor: Any) -> bool:
        return self.padded.get(tensor.name, len(tensor.shape)) < len(tensor.shape)

    def _shape_key(self, tensor: Any) -> Hashable:
        shape = list(tensor.shape[1:])
        if self._is_padded(tensor):
            shape[self.padded[tensor.name] - 1] = -1
        return (tensor.name, tensor.datatype, *shape)

    def _bucket(self, length: int) -> int:
        at = bisect_left(self.buckets, length)
        return self.buckets[at] if at < len(self.buckets) else length

    def _joined(self, name: str, parts: Sequence[Any], length: int) -> Any:
        axis = self.padded[name]
        shape = [sum(len(part) for part in parts), *parts[0].shape[1:]]
        shape[axis] = length
        joined = np.full(shape, self.pad_values.get(name, 0), dtype=parts[0].dtype)
        row = 0
        for part in parts:
            place: list[Any] = [slice(None)] * part.ndim
            place[0] = slice(row, row + len(part))
            place[axis] = slice(0, part.shape[axis])
            joined[tuple(place)] = part
            row += len(part)
        return joined

    def _cut(self, answer: InferResponse, request: InferRequest) -> InferResponse:
        length = self.batch_tokens(request)
        arrays = {}
        for tensor in answer.outputs:
            place = [slice(None)] * len(tensor.shape)
            if tensor.name in self.cut:
                place[self.cut[tensor.name]] = slice(0, length)
            arrays[tensor.name] = tensor.as_numpy()[tuple(place)]
        return _answer(answer, request, arrays)


def tensor_bytes(request: InferRequest) -> int:
    """Bytes of a request's tensors; a tensor of another size a value counts by what numpy makes of it."""
    return sum(int(tensor.as_numpy().nbytes) for tensor in request.inputs)


def _answer(response: InferResponse, request: InferRequest, arrays: dict[str, Any]) -> InferResponse:
    answer = tensors.new_response(response.model_name, arrays, response_id=request.id)
    answer.parameters = response.parameters
    answer.model_version = response.model_version
    return answer
