"""Networks in files that hold their code as well: TorchScript, and programs of ``torch.export``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.models import datatypes
from headrace.predictors.model_files import model_file
from headrace.predictors.tensor_base import ANY, TensorSpec
from headrace.predictors.torch_base import TorchPredictor

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from headrace.models.kserve_api import InferRequest

_SCALARS = {"IntType": int, "FloatType": float, "BoolType": bool}


class TorchScriptPredictor(TorchPredictor):
    """A TorchScript file (``torch.jit.save``).

    It knows the names of what ``forward`` takes, and neither types nor shapes: those are as the request has them (in v1
    INT64 where all numbers are whole, else FP32), unless a subclass states ``inputs`` and ``outputs``, which metadata
    and warm-up need. Numbers that ``forward`` takes beside tensors (``int``, ``float``, ``bool``) come as tensors of
    one value; such requests run alone.
    A file that says nothing about its outputs has ``output-0`` and so on.

    Args:
        name: The model's name in paths and results.
        model: The file (``.pt``, ``.pth``, ``.jit``, ``.ts``), or a folder with one. It is a program: trust its source.
    """

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model)
        self._scalars: dict[str, type[Any]] = {}

    def network(self) -> torch.nn.Module:
        """The file's module.

        Raises:
            ModelLoadError: it is missing, is no TorchScript, or takes what no tensor can be.
        """
        path = model_file(self.model, (".pt", ".pth", ".jit", ".ts"), "TorchScript file")
        try:
            module = _script(path)
        except Exception as fault:
            raise ModelLoadError(
                f"{path} is no TorchScript: {_first_line(fault)}", hint="torch.jit.save makes such files"
            ) from fault
        arguments = [each for each in module.forward.schema.arguments if each.name != "self"]
        kinds = {each.name: each.type.kind() for each in arguments if not each.has_default_value()}
        unknown = [name for name, kind in kinds.items() if kind != "TensorType" and kind not in _SCALARS]
        if unknown:
            raise ModelLoadError(f"{path}: forward takes '{unknown[0]}', a {kinds[unknown[0]]}, which is no tensor")
        self._scalars = {name: _SCALARS[kind] for name, kind in kinds.items() if kind in _SCALARS}
        self.inputs = self.inputs or tuple(TensorSpec(name, ANY, (), any_shape=True) for name in kinds)
        script: torch.nn.Module = module
        return script

    def warm_up(self) -> None:
        """As :class:`TorchPredictor`, where types and shapes are stated."""
        if not any(spec.any_shape for spec in self.inputs):
            super().warm_up()

    def batch_key(self, request: InferRequest) -> Hashable | None:
        """As :class:`TorchPredictor`; None where ``forward`` takes plain numbers."""
        return None if self._scalars else super().batch_key(request)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The outputs; the file's ``forward`` gets the inputs in its own order."""
        given = {spec.name: self._given(spec.name, inputs[spec.name]) for spec in self.inputs}
        return super().forward(given)

    def _given(self, name: str, tensor: torch.Tensor) -> Any:
        kind = self._scalars.get(name)
        if kind is None:
            return tensor
        if tensor.numel() != 1:
            raise InvalidInputError(f"Model '{self.name}': input '{name}' is one {kind.__name__}, got {tensor.numel()}")
        return kind(tensor.item())


def _script(path: Path) -> Any:
    with warnings.catch_warnings():
        # torch has put TorchScript on its way out; whoever has such a file knows, and it works.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # torch's


class ExportedPredictor(TorchPredictor):
    """A program of ``torch.export.save`` (``.pt2``): names, types and shapes of its inputs and outputs are in it.

    Lengths that were exported as dynamic are -1. Where the first axis of every input and output is, the server merges
    requests; a program that was exported for a batch of one runs one request at a time.

    Args:
        name: The model's name in paths and results.
        model: The file, or a folder with one. Trust its source.
    """

    def network(self) -> torch.nn.Module:
        """The program's module.

        Raises:
            ModelLoadError: the file is missing, or holds no program.
        """
        path = model_file(self.model, (".pt2",), "program of torch.export")
        try:
            program = torch.export.load(path)
        except Exception as fault:
            raise ModelLoadError(
                f"{path} holds no program of torch.export: {_first_line(fault)}",
                hint="torch.export.save makes such files",
            ) from fault
        values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
        signature = program.graph_signature
        self.inputs = self.inputs or tuple(_traced(name, values[name], path) for name in signature.user_inputs)
        ends = [str(name) for name in signature.user_outputs]
        names = _output_names(program, len(ends))
        self.outputs = self.outputs or tuple(
            _traced(name, values[end], path) for name, end in zip(names, ends, strict=True)
        )
        return _Program(program.module())

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The outputs; a program that gives a mapping gives their names too."""
        assert self.module is not None
        given = self.module(*(inputs[spec.name] for spec in self.inputs))
        parts = list(given.values()) if isinstance(given, dict) else given
        parts = parts if isinstance(parts, (tuple, list)) else (parts,)
        return dict(zip((spec.name for spec in self.outputs), parts, strict=True))


class _Program(torch.nn.Module):
    """An exported module: it has one mode, and refuses to be told of others."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def train(self, mode: bool = True) -> _Program:  # noqa: FBT001, FBT002  # torch's signature
        del mode
        return self

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.inner(*tensors)


def _traced(name: str, value: Any, path: object) -> TensorSpec:
    if not isinstance(value, torch.Tensor):
        raise ModelLoadError(f"{path}: '{name}' is a {type(value).__name__}, not a tensor")
    lengths: Sequence[Any] = value.shape
    shape = tuple(length if isinstance(length, int) else -1 for length in lengths)
    try:
        datatype = datatypes.datatype_of(np.empty(0, torch.empty(0, dtype=value.dtype).numpy().dtype))
    except (TypeError, InvalidInputError) as fault:
        raise ModelLoadError(f"{path}: '{name}' is {value.dtype}, which the Open Inference Protocol has not") from fault
    return TensorSpec(name, datatype, shape)


def _output_names(program: Any, count: int) -> Sequence[str]:
    shape = program.call_spec.out_spec
    return [str(key) for key in shape.context] if shape.type is dict else [f"output-{at}" for at in range(count)]


def _first_line(fault: BaseException) -> str:
    return str(fault).strip().partition("\n")[0]
