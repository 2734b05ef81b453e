"""TorchScript and torch.export: what only one of them knows, and files that are neither."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.predictors.torch_files import ExportedPredictor, TorchScriptPredictor

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.predictors.torch_base import TorchPredictor

SILERO = "pypi://silero-vad==6.2.3/silero_vad/data/silero_vad.jit"


def answered(model: TorchPredictor, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The model's first output."""

    async def run() -> Any:
        request = await model.preprocess(tensors.new_request("m", arrays))
        return await model.postprocess(model.predict(request))

    return asyncio.run(run()).outputs[0].as_numpy()


def test_a_published_torchscript_with_a_plain_number() -> None:
    """Silero VAD's forward takes the rate as an int: it comes as a tensor of one value, and such requests run alone."""
    model = TorchScriptPredictor("vad", model=SILERO)
    assert model.load()
    sound, rate = np.zeros((1, 512), np.float32), np.array([16000], np.int64)
    speech = answered(model, {"sr": rate, "x": sound})
    assert speech.shape == (1, 1)
    assert 0 <= float(speech[0, 0]) < 0.5
    assert model.batch_key(tensors.new_request("m", {"x": sound, "sr": rate})) is None
    with pytest.raises(InvalidInputError, match="input 'sr' is one int, got 2"):
        answered(model, {"x": sound, "sr": np.array([1, 2], np.int64)})


def test_a_subclass_says_what_torchscript_does_not(torchscript: Path) -> None:
    """Types and shapes of the class are checked, and are the metadata."""
    from headrace.predictors.torch_base import TensorSpec  # noqa: PLC0415  # as a user writes it

    class Texts(TorchScriptPredictor):
        inputs = (TensorSpec("ids", "INT64", (-1, -1)), TensorSpec("mask", "INT64", (-1, -1)))
        outputs = (TensorSpec("embedding", "FP32", (-1, 384)), TensorSpec("spam", "FP32", (-1,)))

    model = Texts("m", model=str(torchscript))
    assert model.load()
    model.warm_up()
    assert [each["name"] for each in model.get_output_types()] == ["embedding", "spam"]
    with pytest.raises(InvalidInputError, match=r"'ids' must be INT64 \[-1, -1\], got FP32"):
        answered(model, {"ids": np.zeros((1, 4), np.float32), "mask": np.ones((1, 4), np.int64)})


def test_a_program_for_one_row_runs_rows_alone(tmp_path: Path) -> None:
    """Its first axis is fixed: nothing is merged, and two rows are refused by name. A mapping names its outputs."""

    class Sums(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"total": x.sum(1), "largest": x.max(1).values}

    path = tmp_path / "sums.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own writer
        torch.export.save(torch.export.export(Sums(), (torch.zeros(1, 3),)), path)
    model = ExportedPredictor("m", model=str(path))
    assert model.load()
    model.warm_up()
    assert model.get_input_types() == [{"name": "x", "datatype": "FP32", "shape": [1, 3]}]
    assert [each["name"] for each in model.get_output_types()] == ["total", "largest"]
    row = np.array([[1, 2, 3]], np.float32)
    assert answered(model, {"x": row}).tolist() == [6.0]
    assert model.batch_key(tensors.new_request("m", {"x": row})) is None
    with pytest.raises(InvalidInputError, match=r"'x' must be FP32 \[1, 3\], got FP32 \[2, 3\]"):
        answered(model, {"x": np.zeros((2, 3), np.float32)})


@pytest.mark.parametrize(
    ("found", "name", "told"),
    [(TorchScriptPredictor, "a.pt", "is no TorchScript"), (ExportedPredictor, "a.pt2", "holds no program")],
)
def test_a_file_of_another_kind(found: type[TorchPredictor], name: str, told: str, tmp_path: Path) -> None:
    """A state dict is neither; the message is one line, with the function that writes such files."""
    torch.save({"weight": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ModelLoadError, match=told) as raised:
        found("m", model=str(tmp_path / name)).load()
    assert "\n" not in str(raised.value)
    assert "save makes such files" in str(raised.value)
