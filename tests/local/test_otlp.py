"""From an OpenTelemetry SDK through OTLP/HTTP into the store."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import grpc
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as RpcSpanExporter
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
        ("POST", {"Content-Type": "application/json"}, b"{}", 200),
        ("POST", {"Content-Type": "application/json"}, b'{"resourceSpans": 1}', 400),
        ("POST", {"Content-Type": "application/json"}, b"[]", 400),
        ("POST", {"Content-Type": "text/plain"}, b"{}", 415),
        ("GET", {}, b"", 405),
    ],
)
def test_answers_are_otlps(tmp_path: Path, method: str, headers: dict[str, str], body: bytes, status: int) -> None:
    """Protobuf and JSON are taken, rubbish is told."""

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


def test_json_has_its_own_rules(tmp_path: Path) -> None:
    """Ids are hexadecimal, numbers of 64 bits are text, unknown fields are passed over (OTLP, JSON encoding)."""
    ids = {"traceId": f"{0xABC:032x}", "spanId": f"{1:016x}"}
    span = {
        **ids,
        "parentSpanId": f"{2:016x}",
        "name": "activator",
        "kind": 2,
        "startTimeUnixNano": "1000",
        "endTimeUnixNano": 3000,
        "attributes": [{"key": "n", "value": {"intValue": "3"}}, {"key": "s", "value": {"stringValue": "x"}}],
        "links": [{"traceId": f"{7:032x}", "spanId": f"{8:016x}"}],
        "status": {"code": 2, "message": "it broke"},
        "new in some later version": True,
    }
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "knative"}}]}
    export = {"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": [span, {"name": "without ids"}]}]}]}

    async def scenario() -> tuple[StoredSpan, ...]:
        async with receiving(tmp_path) as (receiver, store), aiohttp.ClientSession() as client:
            headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            body = gzip.compress(json.dumps(export).encode())
            async with client.post(f"{receiver.url}/v1/traces", data=body, headers=headers) as response:
                assert await response.json() == {}
            return store.spans_of(ids["traceId"])

    (found,) = asyncio.run(scenario())
    assert (found.parent_id, found.name, found.kind, found.service) == (f"{2:016x}", "activator", "server", "knative")
    assert (found.start_ns, found.end_ns, found.attributes) == (1000, 3000, {"n": 3, "s": "x"})
    assert [(link.trace_id, link.span_id) for link in found.links] == [(f"{7:032x}", f"{8:016x}")]
    assert (found.status, found.status_message) == ("error", "it broke")


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_any_sender_over_rpc(tmp_path: Path, compression: grpc.Compression) -> None:
    """OpenTelemetry's own exporter for gRPC, compressed or not."""

    def export(url: str) -> str:
        provider = TracerProvider(resource=Resource.create({"service.name": "a user's"}))
        exporter = RpcSpanExporter(endpoint=url, insecure=True, compression=compression)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("test").start_as_current_span("own") as span:
            pass
        provider.shutdown()
        return f"{span.get_span_context().trace_id:032x}"

    async def scenario() -> tuple[StoredSpan, ...]:
        async with receiving(tmp_path) as (receiver, store):
            return store.spans_of(await asyncio.to_thread(export, receiver.rpc_url))

    (found,) = asyncio.run(scenario())
    assert (found.name, found.service) == ("own", "a user's")


def test_the_file_stays_within_its_bound(tmp_path: Path) -> None:
    """However large the spans are: the oldest go, and the newest stay."""
    path = tmp_path / "traces.sqlite"
    bound = 2 << 20
    store = TraceStore.create(path, max_bytes=bound)
    store.close()

    async def scenario() -> int:
        store = TraceStore.create(path, max_bytes=bound)
        receiver = OtlpReceiver(store)
        await receiver.start()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces")))
        tracer = provider.get_tracer("test")

        def export() -> None:
            for number in range(60):
                attributes: dict[str, AnyValue] = {"cloudevents.event_id": f"e-{number}", "large": "x" * 100_000}
                tracer.start_span("span", attributes=attributes).end()

        await asyncio.to_thread(export)
        provider.shutdown()
        await receiver.stop()
        assert store.find_trace("e-0") is None
        assert store.find_trace("e-59") is not None
        store.close()
        return path.stat().st_size

    assert asyncio.run(scenario()) < 2 * bound
