"""Text models of Hugging Face transformers, out of a local folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import orjson
import torch

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.models.batching import PaddedBatching
from headrace.models.hooks import never_waits
from headrace.models.kserve_api import InferRequest
from headrace.models.storage import model_path
from headrace.predictors.tensor_base import TensorSpec
from headrace.predictors.torch_base import TorchPredictor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headrace.models.kserve_api import InferResponse

_CLASSIFIES = "ForSequenceClassification"
_MARKS = "ForTokenClassification"
_MOST_TEXTS = 256
_USUAL_LONGEST = 512


class HuggingFacePredictor(PaddedBatching, TorchPredictor):
    """An encoder, a text classifier or a token classifier, whose folder is as ``save_pretrained`` leaves it.

    Reads texts: v1 ``{"instances": ["..."]}`` or ``[{"text": "..."}]``, the data of an event with ``text/plain``, a v2
    BYTES tensor ``text``; or tokens: INT64 [n, length] tensors ``input_ids`` and ``attention_mask``, as a transformer
    in front makes them. Answers, by what ``config.json`` says the model is:

    * an encoder: ``embedding`` FP32 [n, width], the mean over the text's tokens, of length 1 where the folder's
      ``modules.json`` (sentence-transformers) normalizes;
    * ``...ForSequenceClassification``: ``logits`` FP32 [n, classes]; in v1 ``{"label", "score", "logits"}``;
    * ``...ForTokenClassification``: ``token_logits`` FP32 [n, length, classes].

    Models that write text are refused: they need another kind of server. Code of the folder's own is never run, weights
    are read from safetensors alone, and nothing is fetched.

    Args:
        name: The model's name in paths and results.
        model: The folder.
    """

    padded: ClassVar[Mapping[str, int]] = {"input_ids": 1, "attention_mask": 1}
    cut: ClassVar[Mapping[str, int]] = {"token_logits": 1}

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model)
        self.inputs = (TensorSpec("input_ids", "INT64", (-1, -1)), TensorSpec("attention_mask", "INT64", (-1, -1)))
        self._tokenizer: Any = None
        self._labels: Mapping[int, str] = {}
        self._longest = _USUAL_LONGEST
        self._vocabulary = 0
        self._normalized = False

    def network(self) -> torch.nn.Module:
        """The model with its weights; the tokenizer comes with it.

        Raises:
            ModelLoadError: transformers is not installed, or the folder holds no text model that can be served.
        """
        library = _library()
        folder = _folder(self.model)
        config = _config(folder)
        kind = _kind(config, folder)
        auto = {_CLASSIFIES: "AutoModelForSequenceClassification", _MARKS: "AutoModelForTokenClassification"}
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = library.AutoTokenizer.from_pretrained(folder, **local)
            builder = getattr(library, auto.get(kind, "AutoModel"))
            module: torch.nn.Module = builder.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, **local
            )
        except Exception as fault:
            raise ModelLoadError(f"{folder} is no model that transformers can load: {fault}") from fault
        self._describe(module, kind, folder)
        return module

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the class's description says."""
        assert self.module is not None
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        given = self.module(input_ids=ids, attention_mask=mask)
        if (name := self.outputs[0].name) != "embedding":
            return {name: given.logits}
        seen = mask.unsqueeze(-1).to(given.last_hidden_state.dtype)
        embedding = (given.last_hidden_state * seen).sum(1) / seen.sum(1).clamp(min=1)
        return {"embedding": torch.nn.functional.normalize(embedding) if self._normalized else embedding}

    @never_waits
    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> InferRequest:
        """The tokens, checked.

        Raises:
            InvalidInputError: neither texts nor tokens of this model; names the tensor.
        """
        request = await super().preprocess(self._tokens(payload), headers)
        ids, mask = (request.get_input_by_name(spec.name).as_numpy() for spec in self.inputs)
        if ids.shape != mask.shape:
            raise InvalidInputError(f"Model '{self.name}': input_ids {ids.shape}, but attention_mask {mask.shape}")
        if not 1 <= ids.shape[1] <= self._longest:
            raise InvalidInputError(
                f"Model '{self.name}': input_ids has {ids.shape[1]} tokens, 1 to {self._longest} fit"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < self._vocabulary:
            raise InvalidInputError(f"Model '{self.name}': input_ids lie between 0 and {self._vocabulary - 1}")
        return request

    @never_waits
    async def postprocess(
        self, result: InferResponse, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> Any:
        """The tensors; in v1 the label of a text classifier beside them."""
        if not self._labels or not getattr(result, "v1", False):
            return await super().postprocess(result, headers, response_headers)
        logits = result.outputs[0].as_numpy()
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        best = shares.argmax(axis=1)
        rows = zip(best.tolist(), shares.max(axis=1).tolist(), logits.tolist(), strict=True)
        return {"predictions": [{"label": self._labels[at], "score": score, "logits": row} for at, score, row in rows]}

    def _describe(self, module: Any, kind: str, folder: Path) -> None:
        config = module.config
        self._longest = int(getattr(config, "max_position_embeddings", None) or _USUAL_LONGEST)
        self._vocabulary = int(config.vocab_size)
        if kind == _CLASSIFIES:
            self._labels = {int(at): str(label) for at, label in config.id2label.items()}
            self.outputs = (TensorSpec("logits", "FP32", (-1, config.num_labels)),)
        elif kind == _MARKS:
            self.outputs = (TensorSpec("token_logits", "FP32", (-1, -1, config.num_labels)),)
        else:
            modules = folder / "modules.json"
            self._normalized = modules.exists() and b"Normalize" in modules.read_bytes()
            self.outputs = (TensorSpec("embedding", "FP32", (-1, config.hidden_size)),)

    def _tokens(self, payload: Any) -> Any:
        texts = _texts(payload, self.name)
        if texts is None:
            return payload
        found = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="np",
            return_token_type_ids=False,
        )
        arrays = {spec.name: found[spec.name].astype(np.int64) for spec in self.inputs}
        v2 = isinstance(payload, InferRequest)
        return tensors.new_request(
            self.name,
            arrays,
            request_id=payload.id if v2 else None,
            binary_output=v2 and payload.use_binary_outputs,
            v1=not v2,
        )


def _texts(payload: Any, name: str) -> list[str] | None:
    """The texts of a request; None where it is one of tokens."""
    if isinstance(payload, (bytes, bytearray)):
        found: list[Any] = [bytes(payload)]
    elif isinstance(payload, InferRequest):
        tensor = payload.get_input_by_name("text")
        if tensor is None:
            return None
        if tensor.datatype != "BYTES":
            raise InvalidInputError(f"Model '{name}': input 'text' must be BYTES [-1], got {tensor.datatype}")
        found = tensor.as_numpy().ravel().tolist()
    else:
        instances = payload.get("instances") if isinstance(payload, dict) else None
        if not isinstance(instances, list) or not instances:
            raise InvalidInputError(f"Model '{name}' reads texts: v1 {{'instances': ['...']}}, or v2 'inputs'")
        found = [each.get("text") if isinstance(each, dict) and "text" in each else each for each in instances]
        if all(isinstance(each, dict) for each in found):
            return None
    return _checked(found, name)


def _checked(found: list[Any], name: str) -> list[str]:
    if len(found) > _MOST_TEXTS:
        raise InvalidInputError(f"Model '{name}': {len(found)} texts in one request; at most {_MOST_TEXTS} are read")
    texts = []
    for at, text in enumerate(found):
        try:
            texts.append(text.decode() if isinstance(text, bytes) else text)
        except UnicodeDecodeError as fault:
            raise InvalidInputError(f"Model '{name}': text {at} is no UTF-8") from fault
        if not isinstance(texts[-1], str) or not texts[-1].strip():
            raise InvalidInputError(f"Model '{name}': 'text' {at} is no text, or an empty one")
    return texts


def _library() -> Any:
    try:
        import transformers  # noqa: PLC0415  # an optional package, and slow to import

        return transformers if hasattr(transformers, "AutoModel") else _missing()
    except ImportError as fault:
        raise _absent() from fault


def _missing() -> Any:
    # A folder called `transformers` in the working folder is an empty package where the library is not installed.
    raise _absent()


def _absent() -> ModelLoadError:
    return ModelLoadError(
        "HuggingFacePredictor needs Hugging Face transformers, which is not installed",
        hint="python -m pip install 'headrace[huggingface]'",
    )


def _folder(model: str) -> Path:
    if not model:
        raise ModelLoadError("No folder of a model is named", hint="set `model:` in headrace.yaml, or --model URI")
    folder = model_path(model)
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"Model {model!r}: {folder} has no config.json", hint="name the folder of save_pretrained")
    return folder


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = orjson.loads((folder / "config.json").read_bytes())
    except orjson.JSONDecodeError as fault:
        raise ModelLoadError(f"{folder / 'config.json'} is not JSON: {fault}") from fault
    return config


def _kind(config: Mapping[str, Any], folder: Path) -> str:
    """The ending of the architecture's name that says what the model does; empty for an encoder.

    Raises:
        ModelLoadError: it does something else.
    """
    (architecture, *_) = config.get("architectures") or [""]
    for kind in (_CLASSIFIES, _MARKS):
        if architecture.endswith(kind):
            return kind
    if architecture and (not architecture.endswith("Model") or architecture.endswith("LMHeadModel")):
        raise ModelLoadError(
            f"{folder} holds a {architecture}; encoders, {_CLASSIFIES[3:]} and {_MARKS[3:]} are served",
            hint="for others derive from headrace.predictors.torch_base:TorchPredictor; text generation wants vLLM",
        )
    return ""
