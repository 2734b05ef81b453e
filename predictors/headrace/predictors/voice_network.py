"""Silero's voice activity network for 16 kHz, in plain torch: what it remembers of a stream is handed in and out.

The published TorchScript keeps the memory in itself, so that one instance follows one stream; here a run may hold
windows of many streams.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RATE = 16_000
"""Samples a second."""
WINDOW = 512
"""Samples that one probability is about: 32 ms."""
CONTEXT = 64
"""Samples before a window that the network sees with it."""
MEMORY = 128
_BINS = 129
_ENCODER = ("conv1", "conv2", "conv3", "conv4")


class VoiceNetwork(nn.Module):
    """Windows to features, all at once; features to probabilities, one window of a stream after another."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Conv1d(1, 2 * _BINS, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(_BINS, 128, 3, 1, 1)
        self.conv2 = nn.Conv1d(128, 64, 3, 2, 1)
        self.conv3 = nn.Conv1d(64, 64, 3, 2, 1)
        self.conv4 = nn.Conv1d(64, MEMORY, 3, 1, 1)
        self.memory = nn.LSTMCell(MEMORY, MEMORY)
        self.last = nn.Conv1d(MEMORY, 1, 1)

    def features(self, windows: torch.Tensor) -> torch.Tensor:
        """What is in each window: [n, CONTEXT + WINDOW] to [n, MEMORY]."""
        padded = functional.pad(windows, (0, CONTEXT), mode="reflect")
        parts = self.spectrum(padded[:, None])
        sound = (parts[:, :_BINS] ** 2 + parts[:, _BINS:] ** 2).sqrt()
        for name in _ENCODER:
            sound = functional.relu(getattr(self, name)(sound))
        found: torch.Tensor = sound.squeeze(-1)
        return found

    def step(
        self, features: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """The next window of each of n streams: probabilities [n], and what is remembered now, [n, MEMORY] twice."""
        short, long = self.memory(features, memory)
        chance = torch.sigmoid(self.last(functional.relu(short)[..., None]))
        return chance.flatten(), (short, long)


def load_voice(file: Path) -> VoiceNetwork:
    """The network with the weights of ``silero_vad.jit``.

    Of that file and no other: ``silero_vad_16k.safetensors`` beside it holds the weights of another training, whose
    probabilities differ.

    Raises:
        ModelLoadError: the file is no such TorchScript.
    """
    try:
        with warnings.catch_warnings():
            # torch would have everybody use torch.export; this file is published as TorchScript.
            warnings.simplefilter("ignore", DeprecationWarning)
            script = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
        stored = {**dict(script._model.named_parameters()), **dict(script._model.named_buffers())}  # noqa: SLF001  # the 16 kHz half is called so
        network = VoiceNetwork()
        network.load_state_dict(_renamed(stored))
    except (RuntimeError, AttributeError, KeyError, ValueError, OSError) as fault:
        cause = " ".join(str(fault).split())[:300]
        raise ModelLoadError(f"{file} is no TorchScript of Silero VAD: {cause}") from fault
    return network


def _renamed(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {"spectrum.weight": "stft.forward_basis_buffer"}
    for at, own in enumerate(_ENCODER):
        names |= {f"{own}.{leaf}": f"encoder.{at}.reparam_conv.{leaf}" for leaf in ("weight", "bias")}
    names |= {f"memory.{leaf}": f"decoder.rnn.{leaf}" for leaf in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    names |= {f"last.{leaf}": f"decoder.decoder.2.{leaf}" for leaf in ("weight", "bias")}
    return {own: stored[theirs].detach().clone() for own, theirs in names.items()}
