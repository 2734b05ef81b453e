"""The client that plain ``kserve.Model`` transformers get does what KServe's own does."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import orjson
import pytest
from aiohttp import web

from headrace.models import tensors
from headrace.models.kserve_api import (
    InferenceRESTClient,
    InferInput,
    InferRequest,
    Model,
    PredictorConfig,
    RESTConfig,
    set_predictor_config,
)
from headrace.transformers.base import Transformer
from headrace.transformers.kserve_client import RestClient, give_client

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 30.0


async def answer(request: web.Request) -> web.Response:
    """v1 and v2; a model whose name is a number answers that status."""
    name, body = request.match_info["model"], await request.read()
    if name.isdecimal():
        told = {"retry-after": "3", "content-type": "application/json"}
        return web.Response(body=b'{"error": "no"}', status=int(name), headers=told)
    if name == "late":
        await asyncio.sleep(SECONDS)
    if request.path.endswith(":predict"):
        given = orjson.loads(body)
        return web.json_response({"predictions": given["instances"], "id": request.headers.get("x-request-id")})
    wanted = tensors.load_request(body, name, request.headers.get(tensors.HEADER_LENGTH))
    response = tensors.new_response(name, {"y": wanted.inputs[0].as_numpy() * 2}, response_id=wanted.id)
    headers, content = tensors.dump_response(response, wanted)
    return web.Response(body=content, headers=headers)


@pytest.fixture(params=["kserve's own", "ours"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Lets a plain ``kserve.Model`` ask a predictor; with both clients."""

    def run(
        payload: Any, *, protocol: str = "v1", name: str = "m", timeout: float = SECONDS, there: bool = True
    ) -> Any:
        async def within() -> Any:
            app = web.Application()
            app.router.add_post("/v1/models/{model}:predict", answer)
            app.router.add_post("/v2/models/{model}/infer", answer)
            runner = web.AppRunner(app, shutdown_timeout=0.05)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                port = runner.addresses[0][1] if there else unused.getsockname()[1]
            config = PredictorConfig(f"127.0.0.1:{port}", protocol, False, timeout, 0)
            set_predictor_config(config)
            model = Model(name, return_response_headers=True)
            if request.param == "kserve's own":  # not the one that all models of the process share, and none may close
                model._http_client_instance = InferenceRESTClient(RESTConfig(protocol=protocol, timeout=timeout))
            else:
                assert give_client(model, config) is model._http_client
            told: dict[str, str] = {}
            try:
                return await model.predict(payload, {"x-request-id": "7", "ce-id": "1"}, told), told
            finally:
                assert isinstance(model._http_client, RestClient) == (request.param == "ours")
                await model._http_client.close()
                await runner.cleanup()

        return asyncio.run(within())

    return run


def test_v1_goes_there_and_back(ask: Callable[..., Any]) -> None:
    """A dict; the headers that KServe passes on; those of the answer."""
    given, told = ask({"instances": [1, 2]})
    assert given == {"predictions": [1, 2], "id": "7"}
    assert told["content-type"].startswith("application/json")


def doubled(ask: Callable[..., Any], *, raw: bool) -> Any:
    tensor = InferInput("x", [3], "FP32")
    tensor.set_data_from_numpy(np.arange(3, dtype=np.float32), binary_data=raw)
    given, _ = ask(InferRequest("m", [tensor], request_id="7"), protocol="v2")
    assert (given.id, given.model_name) == ("7", "m")
    return given.outputs[0].as_numpy().tolist()


def test_v2_goes_there_and_back(ask: Callable[..., Any]) -> None:
    """Tensors as JSON, and raw ones back or not, as the server writes them."""
    assert doubled(ask, raw=False) == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("ask", ["ours"], indirect=True)
def test_v2_goes_raw_where_its_author_wants_that(ask: Callable[..., Any]) -> None:
    """Raw tensors; KServe's own client sends two ``Content-Type`` headers with them, which servers may refuse."""
    assert doubled(ask, raw=True) == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [400, 404, 429, 503])
def test_a_refusal_is_httpx_s(ask: Callable[..., Any], status: int) -> None:
    """``HTTPStatusError`` with the predictor's own words, status and headers."""
    with pytest.raises(httpx.HTTPStatusError, match=f"no, '{status} ") as found:
        ask({"instances": [1]}, name=str(status))
    assert found.value.response.status_code == status
    assert found.value.response.headers["retry-after"] == "3"
    assert f"/v1/models/{status}:predict" in str(found.value.request.url)


def test_a_predictor_that_is_late(ask: Callable[..., Any]) -> None:
    """``TimeoutException``."""
    with pytest.raises(httpx.TimeoutException):
        ask({"instances": [1]}, name="late", timeout=1)


def test_a_predictor_that_is_away(ask: Callable[..., Any]) -> None:
    """``ConnectError``."""
    with pytest.raises(httpx.ConnectError):
        ask({"instances": [1]}, there=False)


def test_who_gets_a_client() -> None:
    """Only a model that leaves the asking to KServe, over plain REST."""

    class Own(Model):
        @property
        def _http_client(self) -> InferenceRESTClient:
            raise NotImplementedError

    plain, secure, rpc = (
        PredictorConfig("there", "v1", False, 1, 0),  # KServe's parameters
        PredictorConfig("there", "v1", True, 1, 0),
        PredictorConfig("there", "grpc-v2", False, 1, 0),
    )
    assert isinstance(give_client(Model("m"), plain), RestClient)
    for model, config in ((Model("m"), secure), (Model("m"), rpc), (Own("m"), plain), (Transformer("m"), plain)):
        assert give_client(model, config) is None
