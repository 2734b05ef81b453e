"""Pieces of a call in, who speaks when out."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import HeadraceError, InvalidInputError
from headrace.models import tensors
from headrace.models.kserve_api import InferRequest, InferResponse
from headrace.transformers.base import Transformer
from headrace.transformers.sound import samples_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BEGINS = 0.5
"""The probability of speech at which a stretch of it begins..."""
ENDS = 0.35
"""...and below which it ends, so that a syllable's fall does not cut a word."""
KEY = "partitionkey"
_DIGITS = 3


class AudioTransformer(Transformer):
    """Turns pieces of a call into the samples of a voice network, and its probabilities into stretches of speech.

    Reads one piece a request: an event whose data is a WAV file (PCM, 16 kHz) or ``audio/L16``; v1 ``{"instances":
    [{"b64": ...}]}``; a v2 BYTES tensor of one file. The pieces of one call have the same ``partitionkey``, an event
    attribute (``headrace publish --key``) or v2 parameter; the network goes on where the piece before ended.

    Answers v1 with ``{"predictions": [{"label": "speech" or "silence", "confidence", "start", "end", "speech":
    [{"start", "end"}, ...]}]}``, in seconds since the call began; the label is ``pending`` where the piece completes no
    window of 32 ms. Answers v2 with the tensors ``label`` BYTES [1], ``confidence`` FP32 [1], ``speech`` FP32 [1, k],
    the windows' probabilities, and ``start`` INT64 [1], the first one's number in the call.

    Args:
        name: The model's name in paths and results.
    """

    rate = 16_000
    window = 512
    """Samples that one probability is about."""

    def load(self) -> bool:
        """There is nothing to read."""
        self.ready = True
        return True

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """The samples as FP32 [1, n], with the call's key and, so that a piece delivered twice is heard once, its id.

        Raises:
            InvalidInputError: something that is no sound of 16,000 samples a second.
        """
        known = headers or {}
        plain = not isinstance(payload, (bytes, bytearray))
        data, kind = (_file(payload), "") if plain else (bytes(payload), known.get("content-type", ""))
        samples = samples_of(data, self.rate, kind)
        arrays: dict[str, NDArray[Any]] = {"samples": samples[None], "length": np.array([len(samples)], np.int64)}
        v1 = not isinstance(payload, InferRequest)
        request = tensors.new_request(self.name, arrays, request_id=_identity(payload, known), v1=v1)
        key = _key(payload, known)
        if key is not None:
            request.parameters = {**(request.parameters or {}), KEY: key}
        return request

    async def postprocess(
        self, result: InferResponse, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> Any:
        """What the piece was, in the protocol that asked.

        Raises:
            HeadraceError: the predictor's answer has no ``speech`` [1, k] and ``start`` [1].
        """
        del headers, response_headers
        given = {tensor.name: tensor.as_numpy() for tensor in result.outputs}
        speech, start = given.get("speech"), given.get("start")
        if speech is None or start is None or speech.ndim != 2 or len(speech) != 1 or start.shape != (1,):  # noqa: PLR2004  # calls and windows
            shapes = {name: list(array.shape) for name, array in given.items()}
            raise HeadraceError(f"The predictor answered {shapes}, not 'speech' [1, k] and 'start' [1]")
        label, confidence = _verdict(speech[0])
        if getattr(result, "v1", False):
            about = {"label": label, "confidence": round(confidence, 6)}
            return {"predictions": [{**about, **self._stretches(speech[0], int(start[0]))}]}
        outputs = {
            "label": np.array([label], dtype=np.object_),
            "confidence": np.array([confidence], np.float32),
            "speech": speech,
            "start": start,
        }
        return tensors.new_response(self.name, outputs, response_id=result.id)

    def _stretches(self, speech: NDArray[np.float32], start: int) -> dict[str, Any]:
        """From when to when the piece was, and within it the speech."""
        seconds = self.window / self.rate
        found: list[list[int]] = []
        speaking = False
        for at, chance in enumerate(speech.tolist(), start):
            if speaking and chance >= ENDS:
                found[-1][1] = at + 1
            elif chance >= BEGINS:
                speaking = True
                found.append([at, at + 1])
            else:
                speaking = False
        stretches = [_seconds(first, last, seconds) for first, last in found]
        return {**_seconds(start, start + len(speech), seconds), "speech": stretches}


def _seconds(first: int, last: int, window: float) -> dict[str, float]:
    return {"start": round(first * window, _DIGITS), "end": round(last * window, _DIGITS)}


def _verdict(speech: NDArray[np.float32]) -> tuple[str, float]:
    if not len(speech):
        return "pending", 0.0
    most = float(speech.max())
    return ("speech", most) if most >= BEGINS else ("silence", 1 - most)


def _key(payload: Any, headers: Mapping[str, str]) -> str | None:
    value = headers.get(f"ce-{KEY}")
    if value is None and isinstance(payload, InferRequest):
        value = (payload.parameters or {}).get(KEY)
    return None if value is None else str(value)


def _identity(payload: Any, headers: Mapping[str, str]) -> str | None:
    if "ce-id" in headers:
        return f"{headers.get('ce-source', '')} {headers['ce-id']}"
    return payload.id if isinstance(payload, InferRequest) else None


def _file(payload: Any) -> bytes:
    if isinstance(payload, InferRequest):
        return _tensor_file(payload)
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or len(instances) != 1:
        raise InvalidInputError("Expected the bytes of a sound, or {'instances': [{'b64': ...}]} with one piece")
    text = instances[0].get("b64") if isinstance(instances[0], dict) else None
    return _unbase64(text, "The instance")


def _tensor_file(request: InferRequest) -> bytes:
    if len(request.inputs) != 1 or request.inputs[0].datatype != "BYTES":
        raise InvalidInputError("Expected one BYTES tensor with a sound file")
    items = request.inputs[0].as_numpy().ravel().tolist()
    if len(items) != 1:
        raise InvalidInputError(f"Expected one piece of sound, got {len(items)}")
    # JSON has no bytes, so that a string is base64; binary tensor data is the file itself.
    return items[0] if isinstance(items[0], bytes) else _unbase64(items[0], "The tensor")


def _unbase64(text: Any, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as fault:
        raise InvalidInputError(f"{where} is not base64: {fault}") from fault
