"""Turns a picture into a tensor, and a number into words."""

from typing import Any

from headrace.models import tensors
from headrace.transformers.base import Transformer
from headrace.transformers.pictures import tensor_of


class Pictures(Transformer):
    def preprocess(self, payload: bytes, headers: Any = None) -> Any:
        return tensors.new_request(self.name, {"image": tensor_of(payload, 224)[None]})

    def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:
        warmth = float(result.outputs[0].as_numpy()[0])
        return {"predictions": [{"label": "warm" if warmth > 0 else "cool", "confidence": abs(warmth)}]}
