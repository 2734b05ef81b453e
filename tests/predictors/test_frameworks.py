"""Every framework's predictor, served: one network with real weights, asked over v1, v2 and by event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from tests.predictors.conftest import IDS, MASK
from tests.serving.conftest import EVENT, Server

from headrace.models import tensors
from headrace.predictors.huggingface import HuggingFacePredictor
from headrace.predictors.minilm import WEIGHTS
from headrace.predictors.onnx import OnnxPredictor
from headrace.predictors.torch_files import ExportedPredictor, TorchScriptPredictor
from headrace.serving.settings import BatchLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.predictors.conftest import Reference

    from headrace.predictors.tensor_base import TensorPredictor

KINDS = ("torchscript", "exported", "onnx", "huggingface")
TOLERANCE = 2e-5


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> TensorPredictor:
    """The network in each framework's file, loaded."""
    classes = {"torchscript": TorchScriptPredictor, "exported": ExportedPredictor, "onnx": OnnxPredictor}
    kind = request.param
    found: TensorPredictor
    if kind == "huggingface":
        found = HuggingFacePredictor("m", model=WEIGHTS)
    else:
        found = classes[kind]("m", model=str(request.getfixturevalue(kind)))
    assert found.load()
    found.warm_up()
    return found


def served(model: TensorPredictor, use: Callable[[Server], Awaitable[Any]]) -> Any:
    """What ``use`` makes of the model's server."""

    async def run() -> Any:
        model.stop = lambda: None  # the module's model outlives this server
        server = Server(model, BatchLimits(max_delay=0.2), None)
        try:
            return await asyncio.wait_for(use(server), 60)
        finally:
            await server.hosted.stop()

    return asyncio.run(run())


def names_of(model: TensorPredictor) -> tuple[str, ...]:
    """The inputs' names: a framework that keeps none has those of the network's own parameters."""
    return tuple(spec.name for spec in model.inputs)


def v2(names: tuple[str, ...], *rows: int, **parameters: Any) -> dict[str, Any]:
    """A v2 request in JSON."""
    arrays = zip(names, (IDS[list(rows)], MASK[list(rows)]), strict=True)
    inputs = [
        {"name": name, "datatype": "INT64", "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in arrays
    ]
    return {"inputs": inputs, **({"parameters": parameters} if parameters else {})}


def embedding(answer: Any) -> Any:
    """The first output of a v2 answer, as rows."""
    output = answer.json["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def test_v2(model: TensorPredictor, reference: Reference) -> None:
    """Tensors in, tensors out: what torch itself answers."""
    answer = served(model, lambda server: server.post("/v2/models/m/infer", v2(names_of(model), 0, 1)))
    assert answer.status == 200, answer.body
    assert np.allclose(embedding(answer), reference.embedding, atol=TOLERANCE)


def test_v1(model: TensorPredictor, reference: Reference) -> None:
    """Objects by the inputs' names: as many predictions as instances, in their order."""
    texts = zip(IDS.tolist(), MASK.tolist(), strict=True)
    rows = [dict(zip(names_of(model), text, strict=True)) for text in texts]
    answer = served(model, lambda server: server.post("/v1/models/m:predict", {"instances": rows}))
    assert answer.status == 200, answer.body
    first = [next(iter(each.values())) if isinstance(each, dict) else each for each in answer.json["predictions"]]
    assert np.allclose(first, reference.embedding, atol=TOLERANCE)


def test_an_event(model: TensorPredictor, reference: Reference) -> None:
    """A CloudEvent with v2 data is answered by a result event."""
    headers = {**EVENT, "content-type": "application/json"}
    body = orjson.dumps(v2(names_of(model), 1))
    answer = served(model, lambda server: server.ask("POST", "/v2/models/m/infer", body, headers))
    assert (answer.status, answer.headers["ce-type"]) == (200, "dev.headrace.inference.result.v1")
    assert np.allclose(embedding(answer), reference.embedding[1:], atol=TOLERANCE)


def test_several_callers_share_a_run(model: TensorPredictor, reference: Reference) -> None:
    """The server merges them, and each gets its own rows."""
    runs: list[int] = []
    run = type(model).run

    def counted(arrays: Any) -> Any:
        runs.append(len(next(iter(arrays.values()))))
        return run(model, arrays)

    async def ask(server: Server) -> Any:
        model.run = counted  # type: ignore[method-assign]  # only to count
        first = server.post("/v2/models/m/infer", v2(names_of(model), 0))
        others = [server.post("/v2/models/m/infer", v2(names_of(model), at)) for at in (1, 0, 1, 0, 1)]
        return await asyncio.gather(first, *others)

    answers = served(model, ask)
    del model.run
    for at, answer in enumerate(answers):
        assert np.allclose(embedding(answer), reference.embedding[[at % 2]], atol=TOLERANCE)
    assert max(runs) > 1


def test_metadata(model: TensorPredictor) -> None:
    """What the file knows of its tensors; TorchScript knows neither types nor shapes, and tells none."""
    answer = served(model, lambda server: server.ask("GET", "/v2/models/m"))
    inputs = answer.json["inputs"]
    if isinstance(model, TorchScriptPredictor):
        assert inputs == []
        return
    assert [(each["datatype"], each["shape"]) for each in inputs] == [("INT64", [-1, -1])] * 2
    first = answer.json["outputs"][0]
    assert (first["datatype"], first["shape"]) == ("FP32", [-1, 384])


@pytest.mark.parametrize("fault", ["missing", "type", "shape"])
def test_a_wrong_tensor_is_named(model: TensorPredictor, fault: str) -> None:
    """400 with its name; never 500, which callers try again in vain."""
    body = v2(names_of(model), 0)
    first, second = body["inputs"]
    if fault == "missing":
        body["inputs"] = [first]
    elif fault == "type":
        second["datatype"] = "FP32"
    else:
        second.update(shape=[6], data=MASK[0].tolist())
    if isinstance(model, TorchScriptPredictor) and fault != "missing":
        pytest.skip("TorchScript knows neither types nor shapes: a subclass states them")
    answer = served(model, lambda server: server.post("/v2/models/m/infer", body))
    assert answer.status == 400, answer.body
    assert f"'{names_of(model)[1]}'" in answer.body.decode()


def test_binary_tensors(model: TensorPredictor, reference: Reference) -> None:
    """Raw bytes both ways."""
    arrays = dict(zip(names_of(model), (IDS, MASK), strict=True))
    headers, body = tensors.dump_request(tensors.new_request("m", arrays))
    answer = served(model, lambda server: server.ask("POST", "/v2/models/m/infer", body, headers))
    assert answer.status == 200, answer.body
    response = tensors.load_response(answer.body, answer.headers[tensors.HEADER_LENGTH])
    assert np.allclose(response.outputs[0].as_numpy(), reference.embedding, atol=TOLERANCE)


def test_texts_of_hugging_face(reference: Reference) -> None:
    """The folder's own tokenizer: v1 strings, v2 BYTES and an event's text are what tokens are."""
    model = HuggingFacePredictor("m", model=WEIGHTS)
    model.load()
    text = "Hello"
    asked = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}

    async def ask(server: Server) -> Any:
        plain = {**EVENT, "content-type": "text/plain"}
        return [
            await server.post("/v1/models/m:predict", {"instances": [text, {"text": text}]}),
            await server.post("/v2/models/m/infer", asked),
            await server.ask("POST", "/", text.encode(), plain),
            await server.post("/v1/models/m:predict", {"instances": [text, " "]}),
            await server.ask("POST", "/", b"\xff", plain),
        ]

    v1, given, event, empty, broken = served(model, ask)
    assert np.allclose(v1.json["predictions"], reference.embedding[[1, 1]], atol=TOLERANCE)
    assert np.allclose(embedding(given), reference.embedding[[1]], atol=TOLERANCE)
    assert np.allclose(event.json["predictions"], reference.embedding[[1]], atol=TOLERANCE)
    assert (empty.status, broken.status) == (400, 400)
    assert "'text' 1" in empty.body.decode()
