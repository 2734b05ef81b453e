"""Networks that take over a file's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
import torch
from safetensors.torch import save_file, save_model

from headrace.errors import ModelLoadError
from headrace.predictors.weights import INDEX, load_network, load_tensors, network_bytes

if TYPE_CHECKING:
    from pathlib import Path

DEVICES: list[str] = []


class Tied(torch.nn.Module):
    """Two names for one weight, a buffer that no checkpoint has, and one that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(16, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 16, bias=False)
        self.head.weight = self.words.weight
        self.register_buffer("scale", torch.arange(8.0), persistent=False)
        DEVICES.append(self.words.weight.device.type)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Something of all parts."""
        return self.head(self.norm(self.words(ids)) * self.scale)  # type: ignore[no-any-return]  # a module's call is Any


def saved(folder: Path) -> tuple[Tied, Path]:
    """A network with weights of its own, and the file."""
    network = Tied().eval()
    torch.nn.init.normal_(network.norm.running_mean)  # type: ignore[arg-type]  # a buffer of this norm
    save_model(network, str(folder / "model.safetensors"))
    return network, folder / "model.safetensors"


def test_the_same_network(tmp_path: Path) -> None:
    """Tied weights, buffers in the file and buffers beside it: the answers are those of the network that was saved."""
    network, file = saved(tmp_path)
    DEVICES.clear()
    loaded = load_network(Tied, file).eval()
    assert DEVICES == ["meta", "cpu"], "the second time for the buffer that the file does not have"
    ids = torch.arange(16)
    assert torch.equal(loaded(ids), network(ids))
    assert not [name for name, part in loaded.named_parameters() if part.is_meta]
    assert network_bytes(network) == 4 * (16 * 8 + 4 * 8 + 8) + 8


def test_nothing_is_built_twice_in_vain(tmp_path: Path) -> None:
    """A network whose weights are all in the file allocates none of its own, and keeps the file's memory."""
    save_file({"weight": torch.ones(4, 4), "bias": torch.zeros(4)}, tmp_path / "m.safetensors")
    stored: dict[str, torch.Tensor] = {}

    def kept(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        stored.update(tensors)
        return tensors

    loaded = load_network(lambda: torch.nn.Linear(4, 4), tmp_path, renamed=kept)
    assert isinstance(loaded.weight, torch.Tensor)
    assert loaded.weight.data_ptr() == stored["weight"].data_ptr()


def test_another_precision_is_converted(tmp_path: Path) -> None:
    """A half-precision file makes a network of its own precision, as copying would."""
    save_file({"weight": torch.ones(4, 4).half(), "bias": torch.zeros(4).half()}, tmp_path / "m.safetensors")
    assert load_network(lambda: torch.nn.Linear(4, 4), tmp_path).weight.dtype == torch.float32


def test_a_checkpoint_in_parts(tmp_path: Path) -> None:
    """The index names the files; without it several are too many."""
    for name in ("weight", "bias"):
        save_file({name: torch.ones(4, 4) if name == "weight" else torch.zeros(4)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelLoadError, match="holds 2 safetensors files"):
        load_tensors(tmp_path)
    parts = {"weight_map": {"weight": "weight.safetensors", "bias": "bias.safetensors"}}
    (tmp_path / INDEX).write_bytes(orjson.dumps(parts))
    assert load_tensors(tmp_path).keys() == {"weight", "bias"}


def test_weights_of_another_network(tmp_path: Path) -> None:
    """The error names the place, the network and what is missing; a file that is none is named too."""
    save_file({"weight": torch.ones(4, 4)}, tmp_path / "m.safetensors")
    with pytest.raises(ModelLoadError, match=r"m\.safetensors does not hold the weights of Linear.*bias"):
        load_network(lambda: torch.nn.Linear(4, 4), tmp_path / "m.safetensors")
    (tmp_path / "m.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelLoadError, match="is no safetensors file"):
        load_tensors(tmp_path / "m.safetensors")
