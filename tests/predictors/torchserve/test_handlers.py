"""Handlers of every form, served: real networks out of archives, asked as TorchServe was and by KServe's protocols."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from tests.predictors.conftest import IDS, MASK
from tests.predictors.test_frameworks import served
from tests.predictors.torchserve.archives import mar, pictures_mar, texts_mar
from tests.serving.conftest import EVENT, Server

from headrace.errors import ModelLoadError
from headrace.predictors.torchserve.predictor import TorchServePredictor

if TYPE_CHECKING:
    from tests.predictors.conftest import Reference

PICTURE = (Path(__file__).parents[3] / "examples/pictures/coffee.jpg").read_bytes()
IMAGE = {"content-type": "image/jpeg"}
FORM = b'--x\r\nContent-Disposition: form-data; name="data"; filename="a.jpg"\r\n\r\n' + PICTURE + b"\r\n--x--\r\n"


Load = Callable[[Path], Any]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Loads a predictor of an archive, and stops it after the tests."""
    begun = []

    def loaded(archive: Path) -> Any:
        model = TorchServePredictor("m", model=str(archive))
        assert model.load()
        begun.append(model)
        return model

    yield loaded
    for model in begun:
        TorchServePredictor.stop(model)  # a server of a test's own has left it running


def small(tmp_path: Path, code: str, handler: str = "h.py") -> Path:
    """An archive of a handler alone."""
    return mar(tmp_path / "m.mar", {"modelName": "small", "handler": handler}, {"h.py": code})


@pytest.fixture(scope="module")
def pictures(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """EfficientNet-Lite0 with a handler that derives from TorchServe's."""
    return load(pictures_mar(tmp_path_factory.mktemp("mar") / "lite.mar"))


def test_every_way_to_ask(pictures: Any) -> None:
    """TorchServe's path, its forms, v1 in two spellings, v2 and an event: the same two classes."""
    encoded = base64.b64encode(PICTURE).decode()
    v2 = {"inputs": [{"name": "picture", "datatype": "BYTES", "shape": [1], "data": [encoded]}]}

    async def ask(server: Server) -> Any:
        return [
            await server.ask("POST", "/predictions/m", PICTURE, IMAGE),
            await server.ask("POST", "/predictions/m", PICTURE),
            await server.ask("POST", "/predictions/m", FORM, {"content-type": "multipart/form-data; boundary=x"}),
            await server.ask("POST", "/v1/models/m:predict", PICTURE, IMAGE),
            await server.ask("POST", "/", PICTURE, {**EVENT, **IMAGE}),
            await server.post("/v1/models/m:predict", {"instances": [{"b64": encoded}, {"data": encoded}]}),
            await server.post("/v2/models/m/infer", v2),
            await server.ask("GET", "/ping"),
        ]

    *plain, v1, tensors, ping = served(pictures, ask)
    for answer in plain:
        assert answer.status == 200, answer.body
        assert list(answer.json)[0] == "espresso"  # noqa: RUF015  # reads as it is meant
        assert len(answer.json) == 2
    for row in (*v1.json["predictions"], orjson.loads(tensors.json["outputs"][0]["data"][0])):
        # Two pictures in a run add up in another order than one.
        assert row == pytest.approx(plain[0].json, abs=1e-5)
    assert ping.json == {"status": "Healthy"}


def test_requests_are_merged_and_answered_apart(pictures: Any) -> None:
    """Callers share a call of the handler; one that sends no picture gets 400, and the others their answers."""

    async def ask(server: Server) -> Any:
        bodies = [PICTURE, PICTURE, b"no picture", PICTURE]
        return await asyncio.gather(*(server.ask("POST", "/predictions/m", body, IMAGE) for body in bodies))

    answers = served(pictures, ask)
    assert [answer.status for answer in answers] == [200, 200, 400, 200]
    assert "is no picture" in answers[2].json["error"]


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_a_function_as_handler(load: Load, torchscript: Path, reference: Reference, tmp_path: Path) -> None:
    """It is called once without data, then with the entries: MiniLM as TorchScript."""
    model = load(texts_mar(tmp_path / "texts.mar", torchscript))
    rows = [{"input_ids": ids, "attention_mask": mask} for ids, mask in zip(IDS.tolist(), MASK.tolist(), strict=True)]

    async def ask(server: Server) -> Any:
        plain = await server.post("/predictions/m", rows[0])
        return plain, await server.post("/v1/models/m:predict", {"instances": rows})

    plain, v1 = served(model, ask)
    assert np.allclose(plain.json["embedding"], reference.embedding[0], atol=2e-5)
    assert np.allclose([row["embedding"] for row in v1.json["predictions"]], reference.embedding, atol=2e-5)


def test_torchserves_own_image_classifier(load: Load, tmp_path: Path) -> None:
    """An archive that names it brings no handler: five classes, by the names of index_to_name.json."""
    model = load(pictures_mar(tmp_path / "lite.mar", "image_classifier"))
    answer = served(model, lambda server: server.ask("POST", "/predictions/m", PICTURE, IMAGE))
    assert answer.status == 200, answer.body
    assert len(answer.json) == 5
    assert "espresso" in answer.json


def test_the_base_handler_and_its_context(load: Load, tmp_path: Path) -> None:
    """What the issue's users' handlers call is there: ids, headers, metrics; v2 numbers come as rows."""
    code = """
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException

class Sums(BaseHandler):
    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        context.metrics.add_counter("calls", 1)
        if context.get_request_header(0, "X-Fail"):
            raise PredictionException("as you wish", 418)
        assert context.get_request_id(0)
        return [sum(row["data"]) for row in data]
"""
    model = load(small(tmp_path, code))
    v2 = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [2, 2], "data": [1, 2, 3, 4]}]}

    async def ask(server: Server) -> Any:
        good = await server.post("/v2/models/m/infer", v2)
        return good, await server.post("/v1/models/m:predict", {"instances": [[1]]}, x_fail="1")

    good, bad = served(model, ask)
    assert good.json["outputs"] == [
        {"parameters": None, "name": "predictions", "shape": [2], "datatype": "INT64", "data": [3, 7]}
    ]
    assert (bad.status, bad.json["error"]) == (418, "as you wish")


@pytest.mark.parametrize(
    ("code", "handler", "told"),
    [
        ("import nothing_of_the_kind", "h.py", "fails to load: ModuleNotFoundError"),
        ("def other(data, context): ...", "h.py:serve", "there is no function serve"),
        ("x = 1", "h.py", "must have a function handle, or one class with a method handle; it has none"),
        ("class A:\n  def handle(self, d, c): ...\nclass B:\n  def handle(self, d, c): ...", "h.py", "it has A, B"),
        ("def handle(data, context): raise ValueError('no luck')", "h.py", "ValueError: no luck"),
        ("import sys\nsys.exit(3)", "h.py", "SystemExit"),
    ],
)
def test_a_handler_that_does_not_load(load: Load, code: str, handler: str, told: str, tmp_path: Path) -> None:
    """In one message, with the handler's name and the cause."""
    with pytest.raises(ModelLoadError, match=told):
        load(small(tmp_path, code, handler))


@pytest.mark.parametrize("answer", ["[1]", "{'a': 1}", "None"])
def test_an_answer_that_is_no_list_of_as_many(load: Load, answer: str, tmp_path: Path) -> None:
    """500, and what the handler must return."""
    model = load(small(tmp_path, f"def handle(data, context):\n  return {answer}\n"))
    given = served(model, lambda server: server.post("/v1/models/m:predict", {"instances": [1, 2]}))
    assert given.status == 500
    assert "must return a list" in given.json["error"]


def test_bytes_and_texts_are_answered_as_they_are(load: Load, tmp_path: Path) -> None:
    """A handler that returns a picture, say; and a text comes to it as text."""
    code = "def handle(data, context):\n  return [row['body'] for row in data] if data else None\n"
    model = load(small(tmp_path, code))

    async def ask(server: Server) -> Any:
        text = await server.ask("POST", "/predictions/m", "süß".encode(), {"content-type": "text/plain"})
        return text, await server.ask("POST", "/predictions/m", b"\xff\xd8")

    text, picture = served(model, ask)
    assert (text.body.decode(), picture.body) == ("süß", b"\xff\xd8")


def test_the_archives_folder_goes_with_the_model(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was unpacked for one model is removed when it stops."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "place"))
    (tmp_path / "place").mkdir()
    model = load(small(tmp_path, "def handle(data, context):\n  return data\n"))
    assert list((tmp_path / "place").iterdir())
    model.stop()
    assert not list((tmp_path / "place").iterdir())
