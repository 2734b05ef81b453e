"""The models that both servers host: the same classes, unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace.models.kserve_api import InferOutput, InferRequest, InferResponse, Model


class Ready(Model):
    """Has nothing to load."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True


class Echo(Ready):
    """Answers what it is sent: the cost of the server alone."""

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """The instances or the tensors as they came."""
        del headers
        if isinstance(payload, InferRequest):
            outputs = []
            for tensor in payload.inputs:
                output = InferOutput(tensor.name, tensor.shape, tensor.datatype)
                output.set_data_from_numpy(tensor.as_numpy(), binary_data=False)
                outputs.append(output)
            return InferResponse(payload.id or "1", self.name, outputs)
        return {"predictions": payload["instances"]}


class Mean(Ready):
    """The mean of a tensor: what it costs to bring a large one to a model."""

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """One number a row."""
        del headers
        array = payload.inputs[0].as_numpy()
        means = array.reshape(len(array), -1).mean(axis=1).astype(np.float32)
        output = InferOutput("mean", list(means.shape), "FP32")
        output.set_data_from_numpy(means, binary_data=False)
        return InferResponse(payload.id or "1", self.name, [output])


class Layers(Ready):
    """A network of two layers in torch: what a start costs with torch in it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        import torch  # noqa: PLC0415  # only this model needs it

        self._torch = torch
        self._network = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)).eval()

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Ten numbers a row."""
        del headers
        with self._torch.inference_mode():
            rows = self._torch.tensor(payload["instances"], dtype=self._torch.float32)
            return {"predictions": self._network(rows).tolist()}
