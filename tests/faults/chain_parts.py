"""The transformer and the predictor of the chain scene: an event's number goes there and back."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import numpy as np

from headrace.models import tensors
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.transformers.base import Transformer

WORK = 0.2
"""Seconds that the predictor takes for each event."""


class Numbers(Transformer):
    """From ``{"n": N}`` to a tensor, and back; tells each delivery."""

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """The number as a tensor; the event's id is kept in a file, a line each."""
        assert headers is not None
        kept = os.open(os.environ["DELIVERIES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(kept, f"{headers['ce-id']}\n".encode())  # one write: killed processes leave whole lines
        finally:
            os.close(kept)
        number = -1 if payload["poison"] else payload["n"]
        return tensors.new_request(self.name, {"n": np.array([number], dtype=np.int64)})

    def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """The number that the predictor has seen."""
        del headers, response_headers
        return {"n": int(result.outputs[0].as_numpy()[0])}


class Slow(Model):
    """Answers a number with itself, after a while; a negative one is poison."""

    def load(self) -> bool:
        """Nothing to load."""
        self.ready = True
        return True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> InferResponse:
        """The same number."""
        del headers, response_headers
        await asyncio.sleep(WORK)
        number = payload.inputs[0].as_numpy()
        if number[0] < 0:
            raise RuntimeError("poison")
        return tensors.new_response(self.name, {"n": number})
