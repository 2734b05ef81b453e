"""A transformer's way to its predictor."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import web
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from headrace.errors import DeadlineExceededError, HeadraceError
from headrace.eventing.results import problem_of
from headrace.models import tensors
from headrace.transformers.client import PredictorClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PARENT = f"00-{1:032x}-{2:016x}-01"


def asked(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    headers: dict[str, str] | None = None,
    times: int = 1,
    timeout: float = 10,
) -> Any:
    """The last response of a client whose predictor answers by ``handler``."""

    async def run() -> Any:
        app = web.Application()
        app.router.add_post("/v2/models/{model}/infer", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.05)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = PredictorClient(f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=timeout)
        request = tensors.new_request("a model", {"x": np.arange(3, dtype=np.float32)}, request_id="7")
        try:
            for _ in range(times - 1):
                await client.infer(request, headers or {})
            return await client.infer(request, headers or {})
        finally:
            await client.close()
            await runner.cleanup()

    return asyncio.run(run())


async def doubling(request: web.Request) -> web.Response:
    wanted = tensors.load_request(
        await request.read(), request.match_info["model"], request.headers[tensors.HEADER_LENGTH]
    )
    given = tensors.new_response(wanted.model_name, {"y": wanted.inputs[0].as_numpy() * 2}, response_id=wanted.id)
    headers, body = tensors.dump_response(given, wanted)
    return web.Response(body=body, headers=headers)


def test_tensors_go_and_come_as_raw_bytes() -> None:
    """The predictor gets the arrays, and its own come back under the request's id."""
    response = asked(doubling)
    assert (response.model_name, response.id) == ("a model", "7")
    assert response.outputs[0].as_numpy().tolist() == [0.0, 2.0, 4.0]


def test_one_connection_serves_many_requests() -> None:
    """Connections are kept alive between requests."""
    ports: set[int] = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return await doubling(request)

    asked(handler, times=5)
    assert len(ports) == 1


@pytest.mark.parametrize(
    ("status", "headers", "kept", "retry_after"),
    [
        (400, {}, 400, None),
        (404, {}, 404, None),
        (413, {}, 413, None),
        (422, {}, 422, None),
        (429, {"retry-after": "7"}, 429, 7.0),
        (500, {}, 500, None),
        (503, {"retry-after": "3"}, 503, 3.0),
        (503, {}, 503, None),
        (504, {}, 504, None),
        (302, {"location": "/"}, 302, None),
    ],
)
def test_the_predictors_status_is_kept(
    status: int, headers: dict[str, str], kept: int, retry_after: float | None
) -> None:
    """Whether to retry, and when, is the predictor's to say; its message comes along. KServe makes 500 of all."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"error": "the reason"}, status=status, headers=headers)

    with pytest.raises(HeadraceError, match="the reason") as caught:
        asked(handler)
    problem = problem_of(caught.value)
    assert (problem.status, problem.retry_after) == (kept, retry_after)
    assert problem.retriable == (status in (404, 429) or status >= 500)


def test_a_predictor_that_is_away() -> None:
    """Connection refused is 503: the caller comes back when it is there."""

    async def run() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            client = PredictorClient(f"http://127.0.0.1:{closed.getsockname()[1]}", timeout=10)
            try:
                await client.infer(tensors.new_request("m", {"x": np.zeros(1)}), {})
            finally:
                await client.close()

    with pytest.raises(HeadraceError, match="does not answer") as caught:
        asyncio.run(run())
    assert (problem_of(caught.value).status, caught.value.retriable) == (503, True)


def test_a_connection_that_breaks() -> None:
    """A predictor that dies while it works is 503."""

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    with pytest.raises(HeadraceError) as caught:
        asked(handler)
    assert problem_of(caught.value).status == 503


def test_a_predictor_that_takes_too_long() -> None:
    """The timeout is 504, and names its seconds."""

    async def handler(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    with pytest.raises(DeadlineExceededError, match=r"in 0\.05 s"):
        asked(handler, timeout=0.05)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"outputs": [{"name": "y"}]}'])
def test_nonsense_is_not_the_callers_fault(body: bytes) -> None:
    """A 200 that holds no response is 502, not 400: the input may be fine."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body)

    with pytest.raises(HeadraceError, match="nonsense") as caught:
        asked(handler)
    assert problem_of(caught.value).status == 502


@pytest.mark.parametrize("headers", [{"traceparent": PARENT}, {"ce-traceparent": PARENT}])
def test_the_trace_goes_on(headers: dict[str, str]) -> None:
    """The predictor gets the CLIENT span of this trace, the caller's request id and authorisation, nothing else."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return await doubling(request)

    asked(handler, {**headers, "authorization": "Bearer x", "x-request-id": "r", "cookie": "c=1", "x-other": "1"})
    span = next(span for span in exporter.get_finished_spans() if span.name == "infer")
    exporter.shutdown()
    assert span.context is not None
    assert span.parent is not None
    assert (span.kind, span.parent.span_id) == (SpanKind.CLIENT, 2)
    assert seen[0]["traceparent"] == f"00-{1:032x}-{span.context.span_id:016x}-01"
    assert (seen[0]["authorization"], seen[0]["x-request-id"]) == ("Bearer x", "r")
    assert not {"cookie", "x-other"} & set(seen[0])
    assert (span.attributes or {})["http.response.status_code"] == 200
    assert trace.get_current_span(Context()).get_span_context().is_valid is False
