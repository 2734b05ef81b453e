"""ONNX files as their publishers ship them, and files that are none."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.serving.conftest import Process

from headrace.errors import ConfigurationError, InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.models.storage import model_path
from headrace.predictors.onnx import OnnxPredictor
from headrace.predictors.voice_network import load_voice

if TYPE_CHECKING:
    from pathlib import Path

SILERO = "pypi://silero-vad==6.2.3/silero_vad/data/silero_vad.onnx"
RATE = np.array(16000, np.int64)


def silence() -> dict[str, np.ndarray[Any, Any]]:
    """A window of nothing, and no memory."""
    return {"input": np.zeros((1, 576), np.float32), "state": np.zeros((2, 1, 128), np.float32), "sr": RATE}


def answered(model: OnnxPredictor, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The model's outputs by name."""

    async def run() -> Any:
        request = await model.preprocess(tensors.new_request("vad", arrays))
        return await model.postprocess(model.predict(request))

    return {tensor.name: tensor.as_numpy() for tensor in asyncio.run(run()).outputs}


@pytest.fixture(scope="module")
def vad() -> OnnxPredictor:
    """Silero VAD as its package ships it."""
    model = OnnxPredictor("vad", model=SILERO)
    assert model.load()
    model.warm_up()
    return model


def test_a_published_file_is_described_by_itself(vad: OnnxPredictor) -> None:
    """Names, types and shapes are the file's; a scalar has no axis, and nothing is merged on a fixed first axis."""
    assert vad.get_input_types() == [
        {"name": "input", "datatype": "FP32", "shape": [-1, -1]},
        {"name": "state", "datatype": "FP32", "shape": [2, -1, 128]},
        {"name": "sr", "datatype": "INT64", "shape": []},
    ]
    assert [each["name"] for each in vad.get_output_types()] == ["output", "stateN"]
    arrays = silence()
    assert vad.batch_key(tensors.new_request("vad", arrays)) is None


def test_it_answers_as_the_torch_network_does(vad: OnnxPredictor) -> None:
    """The same weights by another way: the probability of speech in a window of noise."""
    noise = np.random.default_rng(7).normal(0, 0.3, (1, 576)).astype(np.float32)
    given = answered(vad, {"input": noise, "state": np.zeros((2, 1, 128), np.float32), "sr": RATE})
    network = load_voice(model_path("pypi://silero-vad==6.2.3/silero_vad/data/silero_vad.jit"))
    with torch.inference_mode():
        want, _ = network.step(network.features(torch.from_numpy(noise)), (torch.zeros(1, 128), torch.zeros(1, 128)))
    assert given["output"].shape == (1, 1)
    assert abs(float(given["output"][0, 0]) - float(want[0])) < 1e-3


@pytest.mark.parametrize(
    ("name", "array", "told"),
    [
        ("state", np.zeros((3, 1, 128), np.float32), r"'state' must be FP32 \[2, -1, 128\], got FP32 \[3, 1, 128\]"),
        ("input", np.zeros((1, 576), np.float64), "'input' must be FP32"),
        ("sr", np.zeros(1, np.int64), r"'sr' must be INT64 \[\], got INT64 \[1\]"),
    ],
)
def test_a_wrong_tensor_is_named(vad: OnnxPredictor, name: str, array: np.ndarray[Any, Any], told: str) -> None:
    """With what the file wants and what came."""
    arrays = silence()
    with pytest.raises(InvalidInputError, match=told):
        answered(vad, {**arrays, name: array})


def test_class_and_model_are_all_that_a_server_needs(tmp_path: Path) -> None:
    """As the two lines of a headrace.yaml say it."""
    words = ("--class", "headrace.predictors.onnx:OnnxPredictor", "--model", SILERO, "--name", "vad")
    process = Process(tmp_path, words, {})
    try:
        process.ready()
        with urllib.request.urlopen(process.url() + "/v2/models/vad", timeout=30) as response:
            assert [each["name"] for each in json.load(response)["inputs"]] == ["input", "state", "sr"]
    finally:
        process.end()


def test_lengths_that_must_agree(onnx: Path) -> None:
    """The file gives two axes one name: inputs that differ there are named, before they are run."""
    model = OnnxPredictor("m", model=str(onnx))
    model.load()
    ids, mask = np.ones((1, 4), np.int64), np.ones((1, 5), np.int64)
    told = "length 'length' is 4 in input 'input_ids' and 5 in 'attention_mask'"
    with pytest.raises(InvalidInputError, match=told):
        answered(model, {"input_ids": ids, "attention_mask": mask})


def test_a_folder_with_one_file_is_that_file(onnx: Path, tmp_path: Path) -> None:
    """Several are named, and none is told."""
    assert OnnxPredictor("m", model=str(onnx.parent)).load()
    with pytest.raises(ModelLoadError, match="it has none"):
        OnnxPredictor("m", model=str(tmp_path)).load()
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(ModelLoadError, match=r"a\.onnx, b\.onnx"):
        OnnxPredictor("m", model=str(tmp_path)).load()


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    """The file and the cause are told; so is a model that is not named at all."""
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ModelLoadError, match=r"a\.onnx is no model that ONNX Runtime can run"):
        OnnxPredictor("m", model=str(tmp_path / "a.onnx")).load()
    with pytest.raises(ModelLoadError, match="No ONNX file is named"):
        OnnxPredictor("m").load()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that installs it."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelLoadError, match=r"pip install 'headrace\[onnx\]'"):
        OnnxPredictor("m", model=SILERO).load()


def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, with what ONNX Runtime has."""
    monkeypatch.setenv("HEADRACE_DEVICE", "cuda")
    with pytest.raises(ConfigurationError, match="HEADRACE_DEVICE='cuda': ONNX Runtime has"):
        OnnxPredictor("m", model=SILERO).load()
