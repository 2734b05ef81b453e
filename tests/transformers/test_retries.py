"""Requests to a predictor that get no answer, and what of the caller's request goes along."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from aiohttp import web

from headrace.errors import DeadlineExceededError, HeadraceError, OverloadedError, UnavailableError
from headrace.eventing.results import problem_of
from headrace.models import rpc_tensors, tensors
from headrace.models.kserve_api import InferRequest, PredictorConfig, services
from headrace.transformers.client import PredictorClient, client_of
from headrace.transformers.retries import Budget, NoAnswerError, Retries
from headrace.transformers.rpc_client import RpcPredictorClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRACE = f"00-{1:032x}-{2:016x}-01"
CALLER = {
    "authorization": "Bearer t", "x-request-id": "r", "traceparent": TRACE, "tracestate": "a=b", "baggage": "k=v",
    "x-b3-sampled": "1", "cookie": "secret", "ce-id": "1", "content-length": "5", "host": "caller",
}  # fmt: skip
FORWARDED = {
    "authorization": "Bearer t",
    "x-request-id": "r",
    "baggage": "k=v",
    "x-b3-sampled": "1",
    "tracestate": "a=b",
}


def request() -> InferRequest:
    return tensors.new_request("m", {"x": np.arange(2, dtype=np.float32)}, request_id="7")


class Predictor(services.GRPCInferenceServiceServicer):
    """Answers over gRPC, and remembers the metadata."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.fault: tuple[Any, str, tuple[tuple[str, str], ...]] | None = None
        self.slow = False
        self.calls = 0

    async def ModelInfer(self, message: Any, context: Any) -> Any:  # noqa: N802  # the service's name
        """Double, refuse, or take for ever."""
        self.calls += 1
        self.metadata = {item.key: item.value for item in context.invocation_metadata()}
        if self.slow:
            await asyncio.Event().wait()
        if self.fault is not None:
            await context.abort(*self.fault)
        wanted = rpc_tensors.load_request(message)
        doubled = tensors.new_response("m", {"y": wanted.inputs[0].as_numpy() * 2}, response_id=wanted.id)
        return rpc_tensors.dump_response(doubled, wanted)


@asynccontextmanager
async def rpc_served(predictor: Predictor, port: int = 0) -> AsyncIterator[int]:
    server = grpc.aio.server()
    services.add_GRPCInferenceServiceServicer_to_server(predictor, server)
    taken = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield taken
    finally:
        await server.stop(0)


def rpc_asked(predictor: Predictor, timeout: float = 20) -> Any:
    async def run() -> Any:
        async with rpc_served(predictor) as port:
            client = RpcPredictorClient(f"127.0.0.1:{port}", timeout=timeout, retries=1)
            try:
                return await client.infer(request(), CALLER)
            finally:
                await client.close()

    return asyncio.run(run())


def test_over_grpc_tensors_and_headers_go_and_come() -> None:
    """Raw tensors both ways; identity, request id and the whole trace go along, the rest of the headers do not."""
    predictor = Predictor()
    response = rpc_asked(predictor)
    assert (response.id, response.outputs[0].as_numpy().tolist()) == ("7", [0.0, 2.0])
    assert predictor.metadata.items() >= FORWARDED.items()
    assert predictor.metadata["traceparent"].split("-")[1] == f"{1:032x}"
    assert not {"cookie", "ce-id", "host"} & set(predictor.metadata)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)
def test_over_grpc_the_predictors_status_is_kept(code: Any, status: int) -> None:
    """As the HTTP status of the same meaning, with the predictor's words and its advice; it is asked once."""
    predictor = Predictor()
    predictor.fault = (code, "the reason", (("grpc-retry-pushback-ms", "2500"),))
    with pytest.raises(HeadraceError, match="the reason") as caught:
        rpc_asked(predictor)
    problem = problem_of(caught.value)
    assert problem.status == status
    assert predictor.calls == 1
    if isinstance(caught.value, OverloadedError):
        assert problem.retry_after == 2.5


def test_over_grpc_a_slow_predictor_is_given_up() -> None:
    """The timeout is the caller's deadline too."""
    predictor = Predictor()
    predictor.slow = True
    with pytest.raises(DeadlineExceededError):
        rpc_asked(predictor, timeout=0.2)


def closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


def test_over_grpc_a_predictor_that_is_away() -> None:
    """503, after the tries it has."""

    async def run() -> None:
        client = RpcPredictorClient(f"127.0.0.1:{closed_port()}", timeout=20, retries=1)
        try:
            await client.infer(request(), {})
        finally:
            await client.close()

    with pytest.raises(UnavailableError, match="does not answer"):
        asyncio.run(run())


def test_the_protocol_is_chosen_by_the_configuration() -> None:
    """``grpc-v2`` is gRPC; two predictors have two clients, each with its own address and timeout."""
    over_rpc = client_of(PredictorConfig("a:1", "grpc-v2", predictor_request_retries=1))
    first = client_of(PredictorConfig("a:1", "v2", predictor_request_timeout_seconds=5))
    second = client_of(PredictorConfig("b:2", "v1", predictor_use_ssl=True, predictor_request_timeout_seconds=6))
    assert isinstance(over_rpc, RpcPredictorClient)
    assert isinstance(first, PredictorClient)
    assert isinstance(second, PredictorClient)
    assert (first.base_url, first.timeout) == ("http://a:1", 5.0)
    assert (second.base_url, second.timeout) == ("https://b:2", 6.0)


def test_over_rest_the_same_headers_go_along() -> None:
    """Trace context, baggage, identity and request id; the predictor never sees an event's headers."""
    seen: dict[str, str] = {}

    async def handler(asked: web.Request) -> web.Response:
        seen.update({name.lower(): value for name, value in asked.headers.items()})
        headers, body = tensors.dump_response(tensors.new_response("m", {"y": np.zeros(1)}), request())
        return web.Response(body=body, headers=headers)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v2/models/m/infer", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = PredictorClient(f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=20)
        try:
            await client.infer(request(), CALLER)
        finally:
            await client.close()
            await runner.cleanup()

    asyncio.run(run())
    assert seen.items() >= FORWARDED.items()
    assert seen["traceparent"].split("-")[1] == f"{1:032x}"
    assert not {"cookie", "ce-id"} & set(seen)


@pytest.mark.parametrize("retries", [0, 2])
def test_over_rest_what_got_no_answer_is_sent_again(retries: int) -> None:
    """A connection that ends without an answer is tried again as often as is said; an answer, never."""
    taken = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        await reader.readuntil(b"\r\n\r\n")
        if taken > 2:
            writer.write(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        client = PredictorClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=20, retries=retries)
        try:
            await client.infer(request(), {})
        finally:
            await client.close()
            server.close()

    with pytest.raises(UnavailableError, match="answered 503" if retries else "does not answer"):
        asyncio.run(run())
    assert taken == retries + 1


def test_a_dead_predictor_is_not_met_by_a_multiple_of_the_load() -> None:
    """Retries beyond the budget are not made; requests earn new ones."""
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        raise NoAnswerError("away")

    async def run() -> None:
        retries = Retries(2, Budget(ratio=0.25, most=3, left=3))
        for _ in range(40):
            with pytest.raises(NoAnswerError):
                await retries.run(attempt)

    asyncio.run(run())
    assert tries == 40 + 3 - 1 + 10  # the first request's quarter finds the budget full


def test_a_messages_parameters_are_typed() -> None:
    """A parameter that no gRPC message holds is the caller's fault, by name."""
    wanted = request()
    wanted.parameters = {"depth": 1.5}
    with pytest.raises(HeadraceError, match="'depth'"):
        rpc_tensors.dump_request(wanted)
