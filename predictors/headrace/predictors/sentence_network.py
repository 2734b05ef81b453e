"""The BERT encoder of a sentence transformer, in plain torch: token ids to one unit vector a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EPSILON = 1e-12
_PARTS = {
    "word_embeddings": "words",
    "position_embeddings": "positions",
    "token_type_embeddings": "kinds",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "mixed",
    "attention.output.LayerNorm": "norm_mixed",
    "intermediate.dense": "wide",
    "output.dense": "narrow",
    "output.LayerNorm": "norm_narrow",
    "LayerNorm": "norm",
}
"""What a module is called in a BERT checkpoint, and here."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The sizes of an encoder; as they are, those of all-MiniLM-L6-v2."""

    width: int = 384
    heads: int = 12
    layers: int = 6
    inner: int = 1536
    vocabulary: int = 30522
    longest: int = 512
    """Tokens for which there are position embeddings."""


class EncoderLayer(nn.Module):
    """Attention over the text's own tokens, then two linear layers; a norm after each (BERT's order)."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.value = nn.Linear(shape.width, shape.width)
        self.mixed = nn.Linear(shape.width, shape.width)
        self.norm_mixed = nn.LayerNorm(shape.width, eps=_EPSILON)
        self.wide = nn.Linear(shape.width, shape.inner)
        self.narrow = nn.Linear(shape.inner, shape.width)
        self.norm_narrow = nn.LayerNorm(shape.width, eps=_EPSILON)

    def forward(self, tokens: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """The tokens [n, length, width] once more, each aware of those that ``seen`` [n, 1, 1, length] allows."""
        attended = functional.scaled_dot_product_attention(
            self._by_head(self.query(tokens)),
            self._by_head(self.key(tokens)),
            self._by_head(self.value(tokens)),
            attn_mask=seen,
        )
        mixed = self.norm_mixed(tokens + self.mixed(attended.transpose(1, 2).flatten(2)))
        out: torch.Tensor = self.norm_narrow(mixed + self.narrow(functional.gelu(self.wide(mixed))))
        return out

    def _by_head(self, tokens: torch.Tensor) -> torch.Tensor:
        count, length, width = tokens.shape
        return tokens.view(count, length, self.heads, width // self.heads).transpose(1, 2)


class SentenceEncoder(nn.Module):
    """Token ids and their mask, [n, length] each, to unit vectors [n, width]: the mean over each text's own tokens."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.longest, shape.width)
        self.kinds = nn.Embedding(2, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=_EPSILON)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.layers))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The vectors; tokens whose mask is 0 change nothing, and a text of none of its own gets zeros."""
        places = self.positions.weight[: ids.shape[1]]
        tokens = self.norm(self.words(ids) + places + self.kinds.weight[0])
        seen = mask[:, None, None, :].bool()
        for layer in self.layers:
            tokens = layer(tokens, seen)
        # A text without a token attends to nothing, which some of torch's kernels answer with NaN; its share is 0.
        share = mask[..., None].to(tokens.dtype)
        mean = (tokens.nan_to_num() * share).sum(1) / share.sum(1).clamp(min=1)
        return functional.normalize(mean, dim=-1)


def load_encoder(file: Path, shape: EncoderShape) -> SentenceEncoder:
    """The encoder with the weights of a BERT checkpoint in safetensors.

    Raises:
        ModelLoadError: the file is no such checkpoint, or one of other sizes.
    """
    try:
        stored = load_file(file)
    except (OSError, SafetensorError) as fault:
        raise ModelLoadError(f"{file} is no safetensors file: {fault}") from fault
    with torch.device("meta"):  # nothing is allocated or filled that the weights replace at once
        encoder = SentenceEncoder(shape)
    try:
        encoder.load_state_dict(_renamed(stored), assign=True)
    except RuntimeError as fault:
        raise ModelLoadError(f"{file} holds no weights of a {shape.layers}-layer BERT encoder: {fault}") from fault
    return encoder


def _renamed(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors under the names here; the pooler, which sentence transformers leave out, is left out."""
    renamed = {}
    for name, tensor in stored.items():
        place, _, leaf = name.rpartition(".")
        if place.startswith("embeddings."):
            renamed[f"{_part(place[len('embeddings.') :])}.{leaf}"] = tensor
        elif place.startswith("encoder.layer."):
            number, _, part = place[len("encoder.layer.") :].partition(".")
            renamed[f"layers.{number}.{_part(part)}.{leaf}"] = tensor
    return renamed


def _part(name: str) -> str:
    return _PARTS.get(name, name)
