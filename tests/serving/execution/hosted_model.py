"""One model that does what it is asked to, to be hosted in a thread and in a process."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from opentelemetry import trace

from headrace.errors import HeadraceError, PermanentError, TemporaryError
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.kserve_api import InferRequest, InvalidInput, Model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OwnError(Exception):
    """A class that the server has never heard of."""


class OwnHeadraceError(HeadraceError):
    """The same, of Headrace's family."""

    code = "permanent"


class Colour(Enum):
    """Of a member that JSON has a form for."""

    RED = "red"


@dataclass
class Box:
    """A value of the user's that JSON has a form for."""

    label: str
    score: np.float32
    colour: Colour


class Anything:
    """A value of the user's that has none."""


class Status(Exception):  # noqa: N818  # as starlette names its own
    """Has an HTTP status, as a predictor's answer has."""

    status_code = 418


FAULTS = {
    "input": InvalidInput("no such thing"),
    "own": OwnError("broken", 7),
    "family": OwnHeadraceError("never", hint="not at all"),
    "temporary": TemporaryError("later"),
    "permanent": PermanentError("no"),
    "status": Status("teapot"),
    "exit": SystemExit(3),
    "stop": StopIteration("end"),
}
ANSWERS = {
    "dataclass": {"predictions": [Box("cat", np.float32(0.5), Colour.RED)]},
    "array": {"predictions": np.arange(3)},
    "bytes": b"\x00\xff",
    "text": "words",
    "anything": {"predictions": [Anything()]},
}


class Everything(TensorBatching, Model):
    """Answers a v1 request as its ``do`` says, and a v2 request with its tensors doubled."""

    def load(self) -> bool:
        """Nothing to load."""
        self.ready = True
        return True

    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Marks what it has seen."""
        if isinstance(payload, dict):
            return {**payload, "prepared": True}
        return payload

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """See the class."""
        if isinstance(payload, InferRequest):
            return self._doubled(payload)
        return getattr(self, f"_{payload.get('do', 'echo')}")(payload, headers or {})

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Why not."""
        return {"explanations": [payload["do"]]}

    async def healthy(self) -> bool:
        """Until it is told that it is ill."""
        return not getattr(self, "ill", False)

    async def get_input_types(self) -> list[dict[str, Any]]:
        """One tensor."""
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]

    def _doubled(self, request: InferRequest) -> Any:
        arrays = {tensor.name: tensor.as_numpy() * 2 for tensor in request.inputs}
        answer = tensors.new_response(self.name, arrays, response_id=request.id)
        answer.parameters = {"rows": len(request.inputs[0].as_numpy())}
        return answer

    def _echo(self, payload: Any, headers: dict[str, str]) -> Any:
        return {"predictions": [payload], "headers": headers}

    def _fail(self, payload: Any, _headers: dict[str, str]) -> Any:
        raise FAULTS[payload["fault"]]

    def _answer(self, payload: Any, _headers: dict[str, str]) -> Any:
        return ANSWERS[payload["answer"]]

    def _wait(self, payload: Any, _headers: dict[str, str]) -> Any:
        time.sleep(payload["seconds"])
        return {"predictions": []}

    def _trace(self, _payload: Any, _headers: dict[str, str]) -> Any:
        context = trace.get_current_span().get_span_context()
        return {"predictions": [f"{context.trace_id:032x}"]}

    def _stream(self, payload: Any, _headers: dict[str, str]) -> Any:
        async def parts() -> AsyncIterator[str]:
            for number in range(payload["parts"]):
                await asyncio.sleep(0)
                yield f"{number},"
            if payload.get("breaks"):
                raise OwnError("in the middle")

        return parts()

    def _seen(self, _payload: Any, _headers: dict[str, str]) -> Any:
        return {"predictions": getattr(self, "log", [])}

    def _note(self, payload: Any, _headers: dict[str, str]) -> Any:
        self.log = [*getattr(self, "log", []), payload["note"]]
        return {"predictions": []}

    def _where(self, _payload: Any, _headers: dict[str, str]) -> Any:
        return {"predictions": [os.getpid()]}

    def _health(self, payload: Any, _headers: dict[str, str]) -> Any:
        self.ill = payload["ill"]
        return {"predictions": []}
