"""``ts.torch_handler.image_classifier``: pictures in, the likeliest classes out."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import torch

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.predictors.torchserve.base_handler import BaseHandler

_SHORT_SIDE = 256
_SIDE = 224
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)


class VisionHandler(BaseHandler):
    """Turns the bytes of pictures into a tensor, each by ``image_processing``."""

    def image_processing(self, image: Any) -> torch.Tensor:
        """The middle 224 pixels of a Pillow picture whose short side is 256, as for ImageNet: FP32 [3, 224, 224]."""
        ratio = _SHORT_SIDE / min(image.size)
        width, height = (max(_SHORT_SIDE, round(side * ratio)) for side in image.size)
        left, top = (width - _SIDE) // 2, (height - _SIDE) // 2
        image = image.resize((width, height), resample=2).crop((left, top, left + _SIDE, top + _SIDE))
        values = (np.asarray(image, np.float32) / 255 - _MEAN) / _SPREAD
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def preprocess(self, data: list[Any]) -> torch.Tensor:
        """The pictures as one tensor.

        Raises:
            InvalidInputError: an entry that is no picture.
        """
        return torch.stack([self._picture(entry, at) for at, entry in enumerate(data)]).to(self.device)

    def _picture(self, entry: Any, at: int) -> torch.Tensor:
        given = entry.get("data") if entry.get("data") is not None else entry.get("body")
        if isinstance(given, dict) and "instances" in given:
            given = given["instances"]
        if isinstance(given, str):
            given = _unbase64(given, at)
        if isinstance(given, (bytes, bytearray)):
            return self.image_processing(_opened(bytes(given), at))
        try:
            return torch.as_tensor(given, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as fault:
            raise InvalidInputError(f"Entry {at} is no picture: {fault}") from fault


class ImageClassifier(VisionHandler):
    """Answers each picture with its ``topk`` classes and their probabilities."""

    topk = 5

    def set_max_result_classes(self, topk: int) -> None:
        """Answer with this many classes."""
        self.topk = topk

    def postprocess(self, data: torch.Tensor) -> list[dict[str, float]]:
        """``{name: probability}``, the likeliest first; names of ``index_to_name.json``, else numbers."""
        shares = torch.softmax(data, dim=1)
        values, indexes = shares.topk(min(self.topk, shares.shape[1]), dim=1)
        rows = zip(values.tolist(), indexes.tolist(), strict=True)
        return [{self._name(at): value for value, at in zip(*row, strict=True)} for row in rows]

    def _name(self, at: int) -> str:
        found = (self.mapping or {}).get(str(at), str(at))
        return str(found[-1] if isinstance(found, list) else found)


def _opened(content: bytes, at: int) -> Any:
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # an optional package
    except ImportError as fault:
        raise ModelLoadError(
            "TorchServe's image handlers need Pillow, which is not installed",
            hint="python -m pip install 'headrace[image]'",
        ) from fault
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as fault:
        raise InvalidInputError(f"Entry {at} is no picture: {fault}") from fault


def _unbase64(text: str, at: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as fault:
        raise InvalidInputError(f"Entry {at} is neither a picture nor base64: {fault}") from fault
