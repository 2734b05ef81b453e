"""OTLP/HTTP receiver of the twin: spans in protobuf to the trace store (OTLP 1.x, ``POST /v1/traces``)."""

from __future__ import annotations

import asyncio
import base64
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aiohttp import web
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are a package of their own
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from headrace.errors import HeadraceError, InvalidInputError
from headrace.local.span import SpanEvent, SpanLink, StoredSpan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from headrace.local.trace_store import TraceStore

PROTOBUF = "application/x-protobuf"
LARGEST_EXPORT = 64 << 20
"""Bytes of one export, decompressed."""
_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")  # by number; 0 is unspecified
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib's manual, inflateInit2: detects which
_STATUSES = ("unset", "ok", "error")


class OtlpReceiver:
    """Takes spans on a loopback port and keeps them in a store.

    Args:
        store: Where they go; written to in a thread of the receiver's own.
    """

    def __init__(self, store: TraceStore) -> None:
        self.url = ""
        """Base URL, once started: what ``HEADRACE_OTLP_ENDPOINT`` says."""
        self._store = store
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trace-store")
        application = web.Application(client_max_size=LARGEST_EXPORT)
        application.router.add_post("/v1/traces", self._receive)
        # Bodies are unpacked here: aiohttp drops the connection of one that is not what its header says.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=2, auto_decompress=False)

    async def start(self) -> None:
        """Listen on a free loopback port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Take what is under way, then close the port; everything taken is in the store afterwards."""
        await self._runner.cleanup()
        await asyncio.to_thread(self._writer.shutdown)

    async def _receive(self, request: web.Request) -> web.Response:
        if request.content_type != PROTOBUF:
            return web.Response(status=415, text=f"only {PROTOBUF} is taken here, not {request.content_type}")
        try:
            spans = decode(unpack(await request.read(), request.headers.get("Content-Encoding", "")))
        except (DecodeError, InvalidInputError) as fault:
            return web.Response(status=400, text=f"not an OTLP trace export: {fault}")
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._store.add, spans)
        except HeadraceError as fault:
            return web.Response(status=503, text=str(fault), headers={"Retry-After": "1"})
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=PROTOBUF)


def unpack(body: bytes, encoding: str) -> bytes:
    """The body without its content coding.

    Raises:
        InvalidInputError: the coding is neither gzip nor deflate, the body is not of it, or larger than allowed.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise InvalidInputError(f"content coding '{encoding}' is not known", hint="send gzip or none")
    inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        content = inflating.decompress(body, LARGEST_EXPORT)
    except zlib.error as fault:
        raise InvalidInputError(f"the body is not {encoding}: {fault}") from fault
    if not inflating.eof:
        raise InvalidInputError(f"the {encoding} body is cut off, or more than {LARGEST_EXPORT} bytes unpacked")
    return content


def decode(body: bytes) -> list[StoredSpan]:
    """The spans of an ``ExportTraceServiceRequest``.

    Raises:
        google.protobuf.message.DecodeError: the body is none.
    """
    export = ExportTraceServiceRequest()
    export.ParseFromString(body)
    return [
        _span(span, str(_attributes(resource.resource.attributes).get("service.name", "unknown_service")))
        for resource in export.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _span(span: Span, service: str) -> StoredSpan:
    return StoredSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=_KINDS[span.kind] if span.kind < len(_KINDS) else _KINDS[0],
        service=service,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(
            SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events
        ),
        links=tuple(
            SpanLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links
        ),
        status=_STATUSES[span.status.code] if span.status.code < len(_STATUSES) else _STATUSES[0],
        status_message=span.status.message,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)
