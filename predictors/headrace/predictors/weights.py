"""From a safetensors file to a network, without a second copy of the weights in memory.

The usual way builds the network with random weights, reads the file, and copies: twice the weights at least, and the
time to make up numbers that nobody wants. Here the network is built on torch's ``meta`` device, where a tensor has a
shape and no memory, and takes over the file's own tensors, which are mapped: a page is read when it is first used, and
replicas on one machine share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Tensors = dict[str, torch.Tensor]
INDEX = "model.safetensors.index.json"


def load_tensors(place: Path) -> Tensors:
    """The tensors of a file, or of all files of a folder, as Hugging Face splits large ones.

    Raises:
        ModelLoadError: it holds none, or no safetensors.
    """
    tensors: Tensors = {}
    for file in _files(place):
        try:
            tensors |= load_file(file)
        except (OSError, SafetensorError) as fault:
            raise ModelLoadError(f"{file} is no safetensors file: {fault}") from fault
    return tensors


def load_network(
    build: Callable[[], torch.nn.Module], place: Path, *, renamed: Callable[[Tensors], Tensors] = dict
) -> torch.nn.Module:
    """The network that ``build`` makes, with the weights at ``place``.

    What the network holds beside its weights (buffers that a checkpoint leaves out) is computed by building it once
    more, where there is any. Weights of another precision than the network's are converted, as copying would.

    Args:
        build: Makes the network; what it fills its weights with is of no use.
        place: A file, or a folder.
        renamed: From the names in the file to the network's own.

    Raises:
        ModelLoadError: the file's tensors are not those of the network; it names what is missing or too many.
    """
    stored = renamed(load_tensors(place))
    with torch.device("meta"):
        network = build()
    wanted = network.state_dict(keep_vars=True)
    given = {name: _like(tensor, wanted.get(name)) for name, tensor in stored.items()}
    try:
        network.load_state_dict({**given, **_tied(wanted, given)}, assign=True)
    except RuntimeError as fault:
        told = " ".join(str(fault).split())
        raise ModelLoadError(f"{place} does not hold the weights of {type(network).__name__}: {told}") from fault
    _fill_rest(network, build)
    return network


def network_bytes(network: torch.nn.Module) -> int:
    """Bytes of all weights and buffers, each counted once."""
    parts = {id(part): part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers())}
    return sum(parts.values())


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    index = place / INDEX
    if index.is_file():
        names = set(orjson.loads(index.read_bytes())["weight_map"].values())
        return [place / name for name in sorted(names)]
    found = sorted(place.glob("*.safetensors"))
    if len(found) != 1:
        raise ModelLoadError(f"{place} holds {len(found)} safetensors files and no {INDEX}", hint="name one of them")
    return found


def _like(tensor: torch.Tensor, wanted: torch.Tensor | None) -> torch.Tensor:
    return tensor if wanted is None or wanted.dtype == tensor.dtype else tensor.to(wanted.dtype)


def _tied(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> Tensors:
    """Weights that a network uses under two names, of which a checkpoint has one."""
    named = {id(part): name for name, part in wanted.items() if name in given}
    return {name: given[named[id(part)]] for name, part in wanted.items() if name not in given and id(part) in named}


def _fill_rest(network: torch.nn.Module, build: Callable[[], torch.nn.Module]) -> None:
    left = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if not left:
        return
    whole = dict(build().named_buffers())
    for name in left:
        place, _, leaf = name.rpartition(".")
        setattr(network.get_submodule(place), leaf, whole[name])
