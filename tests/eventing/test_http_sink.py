"""Delivery over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.errors import DeadlineExceededError, UnavailableError
from headrace.eventing.event import new_event
from headrace.eventing.http_sink import HttpSink
from headrace.eventing.sink import DisconnectedError
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EVENT = new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "ä b"}, b"data")


def serve(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], use: Callable[[str], Awaitable[None]]
) -> None:
    """Run ``use`` with the address of a server that answers everything by ``handler``."""

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            await use(f"http://127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    asyncio.run(run())


def test_an_event_goes_in_binary_mode_and_the_answer_comes_back() -> None:
    """The request has ``ce-*`` headers, the data as its body and ``Prefer: reply``; status, headers, body return."""
    seen: list[tuple[dict[str, str], bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        return web.Response(status=201, body=b"x" * 300_000, headers={"CE-Id": "2"})

    async def use(url: str) -> None:
        sink = HttpSink(url)
        reply = await sink.deliver(EVENT, Context())
        await sink.close()
        assert (reply.status, len(reply.body), reply.headers["ce-id"]) == (201, 300_000, "2")

    serve(handler, use)
    headers, body = seen[0]
    assert body == b"data"
    assert (headers["ce-id"], headers["ce-subject"], headers["prefer"]) == ("1", "%C3%A4%20b", "reply")


def test_no_answer_in_time_is_a_deadline() -> None:
    """A receiver that does not answer within the request timeout raises, and holds nothing."""

    async def handler(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def use(url: str) -> None:
        sink = HttpSink(url, timeout=0.05)
        with pytest.raises(DeadlineExceededError, match=r"0\.05 s"):
            await sink.deliver(EVENT, Context())
        await sink.close()

    serve(handler, use)


def test_nobody_there_is_unavailable() -> None:
    """A refused connection raises, with the address, and is not ready."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def use() -> None:
            sink = HttpSink(url)
            with pytest.raises(UnavailableError, match=url):
                await sink.deliver(EVENT, Context())
            assert not await sink.ready(Context())
            await sink.close()

        asyncio.run(use())


def test_a_connection_that_breaks_is_unavailable() -> None:
    """A receiver that dies while it works on the event raises."""

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def use(url: str) -> None:
        sink = HttpSink(url)
        with pytest.raises(UnavailableError):
            await sink.deliver(EVENT, Context())
        await sink.close()

    serve(handler, use)


def test_the_whole_chain_is_woken_at_once() -> None:
    """Readiness is asked of every part, at the same time, in the context of the event that waits."""
    asked: list[tuple[str, str]] = []
    both = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers.get("traceparent", "")))
        if len(asked) == 2:
            both.set()
        await both.wait()  # neither is answered before both are asked
        return web.Response(status=503 if request.path.startswith("/b") else 200)

    async def use(url: str) -> None:
        sink = HttpSink(url, wake=[f"{url}/a", f"{url}/b/"])
        span = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(1)))
        assert not await sink.ready(trace.set_span_in_context(span))
        await sink.close()

    serve(handler, use)
    assert sorted(path for path, _ in asked) == ["/a/v2/health/ready", "/b/v2/health/ready"]
    assert {parent for _, parent in asked} == {f"00-{1:032x}-{2:016x}-01"}


def test_a_batch_goes_as_one_request_and_each_event_in_its_own_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched mode, data that is no JSON in base64; the request's span links to each event's."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer)
    seen: list[tuple[dict[str, str], list[dict[str, str]]]] = []
    spans = [
        trace.NonRecordingSpan(trace.SpanContext(number, 7, is_remote=False, trace_flags=trace.TraceFlags(1)))
        for number in (1, 2)
    ]

    async def handler(request: web.Request) -> web.Response:
        seen.append(({k.lower(): v for k, v in request.headers.items()}, await request.json()))
        return web.Response(status=202)

    async def use(url: str) -> None:
        sink = HttpSink(url)
        reply = await sink.deliver_batch([EVENT, EVENT], [trace.set_span_in_context(span) for span in spans])
        await sink.close()
        assert reply.status == 202

    serve(handler, use)
    headers, items = seen[0]
    assert (headers["content-type"], headers["prefer"]) == ("application/cloudevents-batch+json", "reply")
    assert [item["traceparent"] for item in items] == [f"00-{number:032x}-{7:016x}-01" for number in (1, 2)]
    post = exporter.get_finished_spans()[0]
    assert headers["traceparent"].split("-")[1] == f"{post.context.trace_id:032x}"
    assert post.context.trace_id not in (1, 2)
    assert [link.context.trace_id for link in post.links] == [1, 2]


@pytest.mark.parametrize("batch", [False, True])
def test_a_broken_connection_is_told_from_one_that_was_refused(*, batch: bool) -> None:
    """Who dies while it works on events may have died of them; who is not there has not."""

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def deliver(url: str) -> None:
        sink = HttpSink(url)
        try:
            await (sink.deliver_batch([EVENT], [Context()]) if batch else sink.deliver(EVENT, Context()))
        finally:
            await sink.close()

    async def use(url: str) -> None:
        with pytest.raises(DisconnectedError, match=url):
            await deliver(url)

    serve(handler, use)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError) as raised:
            asyncio.run(deliver(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        assert not isinstance(raised.value, DisconnectedError)
