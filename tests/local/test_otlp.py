"""From an OpenTelemetry SDK through OTLP/HTTP into the store."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from headrace.errors import StorageFullError
from headrace.local.otlp import OtlpReceiver
from headrace.local.trace_store import TraceStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from opentelemetry.util.types import AnyValue

    from headrace.local.span import StoredSpan

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@asynccontextmanager
async def receiving(path: Path) -> AsyncIterator[tuple[OtlpReceiver, TraceStore]]:
    """A receiver and its store."""
    store = TraceStore.create(path / "traces.sqlite")
    receiver = OtlpReceiver(store)
    await receiver.start()
    try:
        yield receiver, store
    finally:
        await receiver.stop()
        store.close()


def export_some(url: str, compression: Compression) -> str:
    """What a process with the SDK does; the id of its trace."""
    provider = TracerProvider(resource=Resource.create({"service.name": "predictor"}))
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    other = trace.SpanContext(0xABC, 0xDEF, is_remote=True)
    with tracer.start_as_current_span("POST", kind=trace.SpanKind.SERVER) as server:
        attributes: dict[str, AnyValue] = {
            "cloudevents.event_id": "e-1",
            "n": 3,
            "f": 0.5,
            "yes": True,
            "list": ["a", "b"],
            "bytes": b"\x00\xff",
        }
        with tracer.start_as_current_span(
            "infer", attributes=attributes, links=[trace.Link(other, {"position": 1})]
        ) as span:
            span.add_event("retry", {"attempt": 2}, timestamp=123)
            span.set_status(trace.StatusCode.ERROR, "it broke")
    provider.shutdown()
    return f"{server.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_what_the_sdk_exports_is_stored(tmp_path: Path, compression: Compression) -> None:
    """Names, kinds, resource, attributes of every type, events, links and status, compressed or not."""

    async def scenario() -> tuple[StoredSpan, ...]:
        async with receiving(tmp_path) as (receiver, store):
            trace_id = await asyncio.to_thread(export_some, receiver.url, compression)
            assert store.find_trace("e-1") == trace_id
            return store.spans_of(trace_id)

    outer, inner = asyncio.run(scenario())
    assert (outer.name, outer.kind, outer.parent_id, outer.service) == ("POST", "server", "", "predictor")
    assert (inner.name, inner.kind, inner.parent_id) == ("infer", "internal", outer.span_id)
    assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns
    assert inner.attributes == {
        "cloudevents.event_id": "e-1",
        "n": 3,
        "f": 0.5,
        "yes": True,
        "list": ["a", "b"],
        "bytes": "AP8=",
    }
    assert [(event.name, event.time_ns, event.attributes) for event in inner.events] == [("retry", 123, {"attempt": 2})]
    assert [(link.trace_id, link.span_id) for link in inner.links] == [(f"{0xABC:032x}", f"{0xDEF:016x}")]
    assert (inner.status, inner.status_message) == ("error", "it broke")


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("POST", PROTOBUF, b"", 200),
        ("POST", PROTOBUF, ExportTraceServiceRequest().SerializeToString(), 200),
        ("POST", {**PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(b"", mtime=0), 200),
        ("POST", {**PROTOBUF, "Content-Encoding": "gzip"}, b"not gzip", 400),
        ("POST", {**PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(b"", mtime=0)[:-3], 400),
        ("POST", {**PROTOBUF, "Content-Encoding": "br"}, b"", 400),
        ("POST", PROTOBUF, b"\xff\xff\xff", 400),
        ("POST", {"Content-Type": "application/json"}, b"{}", 415),
        ("GET", {}, b"", 405),
    ],
)
def test_answers_are_otlps(tmp_path: Path, method: str, headers: dict[str, str], body: bytes, status: int) -> None:
    """Protobuf is taken, JSON refused, rubbish told."""

    async def scenario() -> None:
        async with receiving(tmp_path) as (receiver, _), aiohttp.ClientSession() as client:
            async with client.request(method, f"{receiver.url}/v1/traces", headers=headers, data=body) as response:
                assert response.status == status
            async with client.post(f"{receiver.url}/v1/traces", headers=PROTOBUF, data=b"") as response:
                assert response.status == 200

    asyncio.run(scenario())


def test_a_full_disk_is_told_so_that_the_exporter_comes_back(tmp_path: Path) -> None:
    """503 with Retry-After: OTLP exporters send the same spans again."""

    async def scenario() -> None:
        async with receiving(tmp_path) as (receiver, store), aiohttp.ClientSession() as client:

            def add(spans: Iterable[StoredSpan]) -> None:
                raise StorageFullError(f"No room for traces at {store.path}")

            store.add = add  # type: ignore[method-assign]  # a disk cannot be filled in a test
            async with client.post(f"{receiver.url}/v1/traces", headers=PROTOBUF, data=b"") as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
                assert "No room" in await response.text()

    asyncio.run(scenario())
