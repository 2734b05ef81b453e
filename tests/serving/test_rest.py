"""KServe v1 and v2 over REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from headrace.models import tensors
from headrace.models.kserve_api import InferRequest, InferResponse, InvalidInput, Model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

JSON = {"content-type": "application/json"}


class Doubler(Model):
    """Doubles a tensor, and the numbers of ``instances``."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """One tensor."""
        return [{"name": "x", "datatype": "FP32", "shape": [-1]}]

    def predict(self, payload: Any, headers: Any = None) -> Any:
        """Answer in the protocol that asked."""
        if isinstance(payload, InferRequest):
            return tensors.new_response(self.name, {"y": payload.inputs[0].as_numpy() * 2}, response_id=payload.id)
        if "instances" not in payload:
            raise InvalidInput("instances are missing")
        return {"predictions": [2 * value for value in payload["instances"]]}


def one(serving: Callable[..., Any], method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return serving(Doubler("m"), lambda server: server.ask(method, path, body, named))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/", {"status": "alive"}),
        ("/v1/models", {"models": ["m"]}),
        ("/v1/models/m", {"name": "m", "ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models", {"models": ["m"]}),
        ("/v2/models/m/ready", {"name": "m", "ready": True}),
        (
            "/v2/models/m",
            {
                "name": "m",
                "versions": None,
                "platform": "",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
                "outputs": [],
            },
        ),
    ],
)
def test_what_is_asked_of_a_server(serving: Callable[..., Any], path: str, value: Any) -> None:
    """Status and body are KServe's."""
    answer = one(serving, "GET", path)
    assert (answer.status, answer.json) == (200, value)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/other", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v2/models/other/infer", 422),
        ("GET", "/nothing", 404),
        ("POST", "/v1/models/m/infer", 404),
        ("GET", "/v1/models/m:predict", 404),
        ("POST", "/v2/models/m", 405),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_what_is_not_there(serving: Callable[..., Any], method: str, path: str, status: int) -> None:
    """An unknown model, path or method is answered by a reason, never by a traceback or a hang."""
    answer = one(serving, method, path, b"{}", content_type="application/json")
    assert answer.status == status
    assert answer.json.get("error") or answer.json["detail"]


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "application/octet-stream"]
)
def test_v1(serving: Callable[..., Any], media_type: str) -> None:
    """JSON is decoded however its media type is spelt; octets that are JSON too, as KServe does."""
    answer = one(serving, "POST", "/v1/models/m:predict", b'{"instances": [1, 2]}', content_type=media_type)
    assert (answer.status, answer.json) == (200, {"predictions": [2, 4]})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("body", [b"{", b'{"instances": 3}', b"{}"])
def test_v1_input_that_is_none(serving: Callable[..., Any], body: bytes) -> None:
    """No JSON, ``instances`` that are no list, and what the model refuses answer 400 in KServe's form."""
    answer = one(serving, "POST", "/v1/models/m:predict", body, content_type="application/json")
    assert answer.status == 400
    assert set(answer.json) == {"error"}


def test_v2_json(serving: Callable[..., Any]) -> None:
    """A v2 request in JSON is answered in JSON, under its id."""
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2.5]}
    body = orjson.dumps({"id": "42", "inputs": [tensor]})
    answer = one(serving, "POST", "/v2/models/m/infer", body, content_type="application/json")
    assert answer.status == 200
    assert answer.json["id"] == "42"
    assert answer.json["outputs"] == [
        {"name": "y", "shape": [2], "datatype": "FP32", "parameters": None, "data": [2.0, 5.0]}
    ]


def test_v2_binary_both_ways(serving: Callable[..., Any]) -> None:
    """Raw tensors in, raw tensors out where they are asked for."""
    request = tensors.new_request("m", {"x": np.arange(3, dtype=np.float32)})
    headers, body = tensors.dump_request(request)
    answer = serving(Doubler("m"), lambda server: server.ask("POST", "/v2/models/m/infer", body, headers))
    response = tensors.load_response(answer.body, answer.headers[tensors.HEADER_LENGTH])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert response.outputs[0].as_numpy().tolist() == [0.0, 2.0, 4.0]


def test_a_bad_tensor_is_named(serving: Callable[..., Any]) -> None:
    """The refusal says which tensor and what is wrong."""
    body = b'{"inputs": [{"name": "x", "shape": [3], "datatype": "FP32", "data": [1]}]}'
    answer = one(serving, "POST", "/v2/models/m/infer", body, content_type="application/json")
    assert answer.status == 400
    assert "'x'" in answer.json["error"]


def test_explain_is_the_models_own(serving: Callable[..., Any]) -> None:
    """Without an ``explain`` of its own a model answers 501; with one, the request's headers are not echoed."""

    class Explained(Doubler):
        def explain(self, payload: Any, headers: Any = None) -> Any:
            return {"explanations": [1]}

    secret = {"content-type": "application/json", "authorization": "Bearer secret", "cookie": "c=1"}
    assert one(serving, "POST", "/v1/models/m:explain", b"{}", content_type="application/json").status == 501
    answer = serving(Explained("m"), lambda server: server.ask("POST", "/v1/models/m:explain", b"{}", secret))
    assert (answer.status, answer.json) == (200, {"explanations": [1]})
    assert not {"authorization", "cookie"} & set(answer.headers)


def test_a_crash_is_told_without_a_traceback(serving: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception answers 500 with its type and message; the traceback is in the log alone."""

    class Broken(Model):
        def predict(self, payload: Any, headers: Any = None) -> Any:
            raise KeyError("wrong")

    answer = serving(Broken("m"), lambda server: server.post("/v1/models/m:predict", {}))
    assert (answer.status, answer.json) == (500, {"error": "KeyError : 'wrong'"})
    assert "KeyError" in caplog.text


def test_a_stream_is_passed_on(serving: Callable[..., Any]) -> None:
    """A v1 model may answer an async iterator; its parts are the body."""

    class Streaming(Model):
        async def predict(self, payload: Any, headers: Any = None) -> Any:
            async def parts() -> AsyncIterator[str]:
                yield "a"
                yield "b"

            return parts()

    answer = serving(Streaming("m"), lambda server: server.post("/v1/models/m:predict", {}))
    assert (answer.status, answer.body) == (200, b"ab")


def test_response_headers_of_the_model_are_sent(serving: Callable[..., Any]) -> None:
    """A model made with ``return_response_headers`` fills a dict; lengths of another connection are left out."""

    class Telling(Model):
        def __init__(self, name: str) -> None:
            super().__init__(name, return_response_headers=True)

        def predict(self, payload: Any, headers: Any, response_headers: dict[str, str]) -> Any:
            response_headers.update({"X-Told": "yes", "Content-Length": "1"})
            return {"predictions": []}

    answer = serving(Telling("m"), lambda server: server.post("/v1/models/m:predict", {}))
    assert (answer.headers["x-told"], answer.json) == ("yes", {"predictions": []})


def test_an_unhealthy_model_makes_the_server_unready(serving: Callable[..., Any]) -> None:
    """Readiness asks every model's ``healthy``; one that raises is not."""

    class Ill(Model):
        async def healthy(self) -> bool:
            raise OSError("no device")

    async def use(server: Any) -> list[int]:
        paths = ("/v2/health/ready", "/v2/health/live", "/v1/models/m", "/v2/models/m/ready")
        return [(await server.ask("GET", path)).status for path in paths]

    assert serving(Ill("m"), use) == [503, 200, 503, 503]


def test_a_model_that_answers_v2_to_v1(serving: Callable[..., Any]) -> None:
    """An ``InferResponse`` is written in the form of v2 on the v1 path too, as KServe does."""

    class Tensor(Model):
        def predict(self, payload: Any, headers: Any = None) -> InferResponse:
            return tensors.new_response("m", {"y": np.array([1], dtype=np.int64)})

    answer = serving(Tensor("m"), lambda server: server.post("/v1/models/m:predict", {}))
    assert answer.json["outputs"] == [{"name": "y", "shape": [1], "datatype": "INT64", "parameters": None, "data": [1]}]


def test_metrics(serving: Callable[..., Any]) -> None:
    """Prometheus reads requests by status, and KServe's own histograms of the hooks; each model counts its own."""

    async def use(server: Any) -> str:
        for value in ({"instances": [1]}, {}, {"instances": [2]}):
            await server.post("/v1/models/counted:predict", value)
        page = await server.ask("GET", "/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        return str(page.body.decode())

    page = serving(Doubler("counted"), use)
    assert 'headrace_http_requests_total{method="POST",status="200"} 2.0' in page
    assert 'headrace_http_requests_total{method="POST",status="400"} 1.0' in page
    assert 'request_predict_seconds_count{model_name="counted"} 3.0' in page


def test_metadata_that_raise_are_answered(serving: Callable[..., Any]) -> None:
    """``async`` metadata are awaited; whatever they raise is a 500 with its reason, not a broken connection."""

    class Described(Doubler):
        async def get_input_types(self) -> list[dict[str, Any]]:  # type: ignore[override]  # KServe allows both
            return [{"name": "z"}]

        def get_output_types(self) -> list[dict[str, Any]]:
            raise LookupError("no outputs")

    answer = serving(Described("m"), lambda server: server.ask("GET", "/v2/models/m"))
    assert (answer.status, answer.json) == (500, {"error": "LookupError : no outputs"})
