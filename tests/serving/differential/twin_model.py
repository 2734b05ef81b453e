"""One model for both servers, written against kserve alone."""

from __future__ import annotations

from typing import Any

import kserve
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady

RAISED = {
    "input": InvalidInput("bad input"),
    "inference": InferenceError("bad inference"),
    "lacking": NotImplementedError("not implemented"),
    "missing": ModelNotFound("other"),
    "unready": ModelNotReady("twin", "for a while"),
    "crash": KeyError("crash"),
}


class Twin(kserve.Model):
    """Answers with what it was given; raises or answers in another form where it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """One tensor."""
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """The same under both protocols."""
        if isinstance(payload, kserve.InferRequest):
            return self._tensors(payload)
        if isinstance(payload, bytes):
            return {"bytes": len(payload)}
        if isinstance(payload, dict) and payload.get("raise") in RAISED:
            raise RAISED[payload["raise"]]
        if isinstance(payload, dict) and "answer" in payload:
            return {"text": "some text", "bytes": b"\x00\xff", "json": b'{"a": 1}'}[payload["answer"]]
        return {"predictions": payload}

    def _tensors(self, payload: kserve.InferRequest) -> kserve.InferResponse:
        raised = payload.inputs[0].name if payload.inputs else None
        if raised in RAISED:
            raise RAISED[raised]
        outputs = []
        for tensor in payload.inputs:
            array = tensor.as_numpy()
            output = kserve.InferOutput(tensor.name, list(array.shape), tensor.datatype)
            output.set_data_from_numpy(array, binary_data=False)
            outputs.append(output)
        return kserve.InferResponse(
            payload.id,
            self.name,
            outputs,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )
