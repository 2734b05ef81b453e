"""Silero VAD: where in a call somebody speaks, piece by piece as the sound comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from headrace.errors import InvalidInputError
from headrace.models import tensors
from headrace.models.array_tensors import TensorInput
from headrace.models.batching import PaddedBatching
from headrace.models.hooks import never_waits
from headrace.models.keyed_state import KeyedModel
from headrace.models.kserve_api import InferRequest, InferResponse
from headrace.models.storage import model_path
from headrace.predictors.torch_base import TensorSpec, TorchPredictor
from headrace.predictors.voice_network import CONTEXT, MEMORY, RATE, WINDOW, VoiceNetwork, load_voice

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

WEIGHTS = "pypi://silero-vad==6.2.3/silero_vad/data/silero_vad.jit"
MOST_SECONDS = 60
"""Sound in one request."""
_IDS = "ids"
"""Parameter of merged requests: the id of each."""


@dataclass(frozen=True, slots=True)
class Listening:
    """What is remembered of one call; 1.5 to 4 kB."""

    memory: tuple[torch.Tensor, torch.Tensor]
    heard: NDArray[np.float32]
    """The end of the last window, then the samples that did not fill one yet."""
    windows: int = 0
    """How many windows the call has had."""
    last_id: str | None = None
    last_answer: tuple[NDArray[np.float32], int] | None = None
    """The probabilities of the last piece and its first window, for a piece that comes twice."""


class SileroVad(KeyedModel, PaddedBatching, TorchPredictor):
    """Silero VAD for 16 kHz, with the calls' memory outside the network.

    Inputs ``samples``: FP32 [1, n], between -1 and 1, at most a minute; ``length``: INT64 [1], how many of them count
    (all, where it is left out). Outputs ``speech``: FP32 [1, k], the probability for each window of 32 ms that this
    piece has completed; ``start``: INT64 [1], how many windows the call had before; ``windows``: INT64 [1], k.

    The pieces of one call have the same key (the event attribute ``partitionkey``, or the v2 parameter): the network
    goes on where the piece before ended, also within a window. A piece that is sent again at once under its id gets its
    answer again and is not heard twice. A request without a key is a call of its own. Pieces of different calls are
    answered in one run.

    Args:
        name: The model's name in paths and results.
        model: ``silero_vad.jit``; empty for that of the distribution ``silero-vad``.
    """

    state_key = "partitionkey"
    inputs = (TensorSpec("samples", "FP32", (1, -1)), TensorSpec("length", "INT64", (1,)))
    outputs = (
        TensorSpec("speech", "FP32", (1, -1)),
        TensorSpec("start", "INT64", (1,)),
        TensorSpec("windows", "INT64", (1,)),
    )
    padded = {"samples": 1}  # noqa: RUF012  # declared ClassVar where it comes from

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model or WEIGHTS)

    def network(self) -> VoiceNetwork:
        """The network with its weights.

        Raises:
            ModelLoadError: they are missing, or of something else.
        """
        return load_voice(model_path(self.model))

    def warm_up(self) -> None:
        """Hear two windows of nothing."""
        self._hear([_new(self.device)], [np.zeros(2 * WINDOW, np.float32)])

    @never_waits
    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """As :class:`TorchPredictor`; all samples count where no ``length`` says otherwise.

        Raises:
            InvalidInputError: more than a minute, or a length that the samples do not have.
        """
        del headers
        request = payload if isinstance(payload, InferRequest) else self._from_v1(payload)
        samples = request.get_input_by_name("samples")
        if samples is not None and request.get_input_by_name("length") is None and len(samples.shape) > 1:
            request.inputs.append(TensorInput("length", np.array([samples.shape[1]], np.int64)))
        for spec in self.inputs:
            self._check(request, spec)
        length, most = int(request.inputs[1].as_numpy()[0]), int(request.inputs[0].shape[1])
        if not 0 <= length <= most:
            raise InvalidInputError(f"Model '{self.name}': length {length}, but there are {most} samples")
        if most > MOST_SECONDS * RATE:
            raise InvalidInputError(
                f"Model '{self.name}' hears {MOST_SECONDS} s at once, got {most / RATE:.0f} s; send it in pieces"
            )
        return request

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """All pieces go together; the server sees to it that no two of one call do."""
        return [tensor.name for tensor in request.inputs] == [spec.name for spec in self.inputs] or None

    def collate(self, requests: Sequence[InferRequest]) -> InferRequest:
        """As :class:`PaddedBatching`, with the requests' ids."""
        merged = super().collate(requests)
        if len(requests) > 1:
            merged.parameters = {_IDS: [request.id for request in requests]}
        return merged

    def split(self, response: InferResponse, requests: Sequence[InferRequest]) -> list[InferResponse]:
        """As :class:`TorchPredictor`; each call's probabilities end with its own last window."""
        answers = super().split(response, requests)
        for answer in answers:
            arrays = {tensor.name: tensor.as_numpy() for tensor in answer.outputs}
            arrays["speech"] = arrays["speech"][:, : int(arrays["windows"][0])]
            answer.outputs = tensors.new_response(self.name, arrays).outputs
        return answers

    def predict_keyed(
        self, payload: InferRequest, headers: dict[str, str], states: Sequence[Any]
    ) -> tuple[InferResponse, Sequence[Any]]:
        """The probabilities of one piece, or of several calls' pieces at once, and what is remembered of each call."""
        del headers
        samples, lengths = (tensor.as_numpy() for tensor in payload.inputs)
        ids = (payload.parameters or {}).get(_IDS, [payload.id])
        known: list[Listening] = [state or _new(self.device) for state in states]
        again = [own is not None and own == state.last_id for state, own in zip(known, ids, strict=True)]
        pieces = [
            row[: 0 if repeated else int(length)] for row, length, repeated in zip(samples, lengths, again, strict=True)
        ]
        heard = self._hear(known, pieces)
        now = [
            before if repeated else _after(before, memory, piece, speech, own)
            for before, repeated, piece, own, (speech, memory) in zip(known, again, pieces, ids, heard, strict=True)
        ]
        answers = [state.last_answer for state in now if state.last_answer is not None]
        response = tensors.new_response(
            self.name, _padded(answers), response_id=payload.id, binary=payload.use_binary_outputs
        )
        response.v1 = getattr(payload, "v1", False)
        return response, now

    def _voice(self) -> VoiceNetwork:
        assert isinstance(self.module, VoiceNetwork)
        return self.module

    def _hear(
        self, known: Sequence[Listening], pieces: Sequence[NDArray[np.float32]]
    ) -> list[tuple[NDArray[np.float32], tuple[torch.Tensor, torch.Tensor]]]:
        """For each call the probabilities of the windows that are complete now, and its memory after them."""
        voice = self._voice()
        sound = [np.concatenate([state.heard, piece]) for state, piece in zip(known, pieces, strict=True)]
        counts = [(len(each) - CONTEXT) // WINDOW for each in sound]
        with torch.inference_mode():
            features = self._features(sound, counts)
            memory = tuple(torch.stack([state.memory[at] for state in known]) for at in (0, 1))
            speech: list[list[float]] = [[] for _ in known]
            for step in range(max(counts, default=0)):
                rows = [row for row, count in enumerate(counts) if count > step]
                chance, after = voice.step(
                    torch.stack([features[row][step] for row in rows]), (memory[0][rows], memory[1][rows])
                )
                memory[0][rows], memory[1][rows] = after
                for row, value in zip(rows, chance.tolist(), strict=True):
                    speech[row].append(value)
        return [
            (np.array(values, np.float32), (memory[0][row].clone(), memory[1][row].clone()))
            for row, values in enumerate(speech)
        ]

    def _features(self, sound: Sequence[NDArray[np.float32]], counts: Sequence[int]) -> list[torch.Tensor]:
        windows = [
            torch.from_numpy(each).unfold(0, CONTEXT + WINDOW, WINDOW)
            for each, count in zip(sound, counts, strict=True)
            if count
        ]
        if not windows:
            return [torch.empty(0, MEMORY)] * len(sound)
        return list(torch.split(self._voice().features(torch.cat(windows).to(self.device)), list(counts)))


def _new(device: torch.device) -> Listening:
    memory = (torch.zeros(MEMORY, device=device), torch.zeros(MEMORY, device=device))
    return Listening(memory, np.zeros(CONTEXT, np.float32))


def _after(
    before: Listening,
    memory: tuple[torch.Tensor, torch.Tensor],
    piece: NDArray[np.float32],
    speech: NDArray[np.float32],
    own: str | None,
) -> Listening:
    sound = np.concatenate([before.heard, piece])[len(speech) * WINDOW :]
    return Listening(memory, sound, before.windows + len(speech), own, (speech, before.windows))


def _padded(answers: Sequence[tuple[NDArray[np.float32], int]]) -> dict[str, NDArray[Any]]:
    counts = [len(speech) for speech, _ in answers]
    rows = np.zeros((len(answers), max(counts)), np.float32)
    for row, (speech, _) in zip(rows, answers, strict=True):
        row[: len(speech)] = speech
    start = np.array([first for _, first in answers], np.int64)
    return {"speech": rows, "start": start, "windows": np.array(counts, np.int64)}
