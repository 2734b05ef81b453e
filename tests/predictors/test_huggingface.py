"""Hugging Face models of other kinds than encoders, and folders that cannot be served."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.predictors.test_frameworks import served

from headrace.errors import ModelLoadError
from headrace.models.storage import model_path
from headrace.predictors.huggingface import HuggingFacePredictor
from headrace.predictors.minilm import WEIGHTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving.conftest import Server


def folder_of(kind: str, folder: Path) -> Path:
    """MiniLM's weights below a new head, as ``save_pretrained`` leaves them."""
    import transformers  # noqa: PLC0415  # slow to import

    source = model_path(WEIGHTS)
    labels = {"id2label": {0: "dull", 1: "bright"}, "label2id": {"dull": 0, "bright": 1}}
    getattr(transformers, kind).from_pretrained(source, **labels).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def loaded(folder: Path) -> HuggingFacePredictor:
    """A predictor of the folder, warm."""
    model = HuggingFacePredictor("m", model=str(folder))
    assert model.load()
    model.warm_up()
    return model


def test_a_text_classifier(tmp_path: Path) -> None:
    """v1 has labels and scores by the folder's own names; v2 the logits they are made of."""
    model = loaded(folder_of("AutoModelForSequenceClassification", tmp_path))
    text = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["Hello", "This is a test"]}

    async def ask(server: Server) -> Any:
        v1 = await server.post("/v1/models/m:predict", {"instances": text["data"]})
        return v1, await server.post("/v2/models/m/infer", {"inputs": [text]})

    v1, v2 = served(model, ask)
    (output,) = v2.json["outputs"]
    logits = np.array(output["data"]).reshape(2, 2)
    assert output["name"] == "logits"
    for row, prediction in zip(logits, v1.json["predictions"], strict=True):
        assert prediction["label"] == ("dull", "bright")[int(row.argmax())]
        assert abs(prediction["score"] - np.exp(row.max()) / np.exp(row).sum()) < 1e-5


def test_a_token_classifier_answers_each_text_at_its_own_length(tmp_path: Path) -> None:
    """Texts of different lengths share a run, and none gets the other's padding."""
    model = loaded(folder_of("AutoModelForTokenClassification", tmp_path))

    async def ask(server: Server) -> Any:
        import asyncio  # noqa: PLC0415  # beside its use

        def one(text: str) -> Any:
            tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
            return server.post("/v2/models/m/infer", {"inputs": [tensor]})

        return await asyncio.gather(one("Hello"), one("This is a test"), one("Hello"))

    shapes = [answer.json["outputs"][0]["shape"] for answer in served(model, ask)]
    assert shapes == [[1, 3, 2], [1, 6, 2], [1, 3, 2]]


@pytest.mark.parametrize(
    ("architecture", "told"),
    [("GPT2LMHeadModel", "text generation wants vLLM"), ("BertForMaskedLM", "holds a BertForMaskedLM")],
)
def test_other_kinds_are_refused_by_name(architecture: str, told: str, tmp_path: Path) -> None:
    """Before anything heavy is read."""
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with pytest.raises(ModelLoadError, match=told):
        HuggingFacePredictor("m", model=str(tmp_path)).load()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    """No config, no JSON, no weights: each is told, and nothing is fetched."""
    with pytest.raises(ModelLoadError, match=r"has no config\.json"):
        HuggingFacePredictor("m", model=str(tmp_path)).load()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match="is not JSON"):
        HuggingFacePredictor("m", model=str(tmp_path)).load()
    shutil.copy(model_path(WEIGHTS) / "config.json", tmp_path)
    with pytest.raises(ModelLoadError, match="is no model that transformers can load"):
        HuggingFacePredictor("m", model=str(tmp_path)).load()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that installs it."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelLoadError, match=r"pip install 'headrace\[huggingface\]'"):
        HuggingFacePredictor("m", model=WEIGHTS).load()
