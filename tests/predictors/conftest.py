"""What the tests of frameworks share: a real network in each framework's own file, and a way to ask a served model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from headrace.predictors.minilm import WEIGHTS, MiniLM

if TYPE_CHECKING:
    from pathlib import Path
NAMES = ("input_ids", "attention_mask")
IDS = np.array([[101, 2023, 2003, 1037, 3231, 102], [101, 7592, 102, 0, 0, 0]], np.int64)
MASK = (IDS > 0).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Reference:
    """MiniLM with its weights, and what it answers to two texts of different lengths."""

    network: torch.nn.Module
    embedding: np.ndarray[Any, Any]
    spam: np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The network that the frameworks' files are made of."""
    model = MiniLM("m", model=WEIGHTS)
    model.load()
    assert model.module is not None
    answer = model.run(dict(zip(NAMES, (IDS, MASK), strict=True)))
    return Reference(model.module, answer["embedding"], answer["spam"])


@pytest.fixture(scope="session")
def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """What exporters trace the network with."""
    return torch.from_numpy(IDS), torch.from_numpy(MASK)


@pytest.fixture(scope="session")
def torchscript(
    reference: Reference, examples: tuple[torch.Tensor, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """MiniLM as TorchScript."""
    path = tmp_path_factory.mktemp("torchscript") / "model.pt"
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracer, about lengths that it takes as they are
        torch.jit.trace(reference.network, examples, check_trace=False).save(str(path))  # type: ignore[no-untyped-call]
    return path


@pytest.fixture(scope="session")
def exported(
    reference: Reference, examples: tuple[torch.Tensor, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """MiniLM as a program of torch.export, for any number of texts of any length."""
    path = tmp_path_factory.mktemp("exported") / "model.pt2"
    free = {0: torch.export.Dim("texts", min=1, max=64), 1: torch.export.Dim("length", min=1, max=512)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own writer
        torch.export.save(torch.export.export(reference.network, examples, dynamic_shapes=(free, free)), path)
    return path


@pytest.fixture(scope="session")
def onnx(
    reference: Reference, examples: tuple[torch.Tensor, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """MiniLM in an ONNX file, for any number of texts of any length."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    free = {name: {0: "texts", 1: "length"} for name in NAMES} | {name: {0: "texts"} for name in ("embedding", "spam")}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # the older exporter says that it is older
        # Its last step asks for the package onnx to add functions of onnxscript, of which there are none here.
        where = "torch.onnx._internal.torchscript_exporter.onnx_proto_utils._add_onnxscript_fn"
        patch.setattr(where, lambda content, _: content)
        torch.onnx.export(
            reference.network, examples, str(path), dynamo=False,
            input_names=NAMES, output_names=("embedding", "spam"), dynamic_axes=free,
        )  # fmt: skip
    return path
