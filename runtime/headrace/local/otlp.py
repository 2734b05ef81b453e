"""OTLP receiver of the twin: spans of any sender to the trace store (OTLP 1.x).

Over HTTP (``POST /v1/traces``, protobuf or JSON, gzip) and over gRPC (``TraceService/Export``), each on a loopback
port of its own.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from headrace.errors import HeadraceError, InvalidInputError
from headrace.local.otlp_decoding import JSON, LARGEST_EXPORT, PROTOBUF, decode, decode_json, spans_of, unpack

if TYPE_CHECKING:
    from headrace.local.span import StoredSpan
    from headrace.local.trace_store import TraceStore

_DECODERS = {PROTOBUF: decode, JSON: decode_json}
_GRACE = 2.0
"""Seconds that exports under way may take when the receiver stops."""


class OtlpReceiver(services.TraceServiceServicer):
    """Takes spans on loopback ports and keeps them in a store.

    Args:
        store: Where they go; written to in a thread of the receiver's own.
    """

    def __init__(self, store: TraceStore) -> None:
        self.url = ""
        """Base URL for OTLP over HTTP, once started: what ``HEADRACE_OTLP_ENDPOINT`` says."""
        self.rpc_url = ""
        """Base URL for OTLP over gRPC, once started."""
        self._store = store
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trace-store")
        application = web.Application(client_max_size=LARGEST_EXPORT)
        application.router.add_post("/v1/traces", self._receive)
        # Bodies are unpacked here: aiohttp drops the connection of one that is not what its header says.
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE, auto_decompress=False)
        self._server: Any = None

    async def start(self) -> None:
        """Listen on two free loopback ports."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._server = grpc.aio.server(options=(("grpc.max_receive_message_length", LARGEST_EXPORT),))
        services.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated
        self.rpc_url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self) -> None:
        """Take what is under way, then close the ports; everything taken is in the store afterwards."""
        if self._server is not None:
            await self._server.stop(_GRACE)
        await self._runner.cleanup()
        await asyncio.to_thread(self._writer.shutdown)

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the service's name
        """An export over gRPC."""
        try:
            await self._keep(spans_of(request))
        except HeadraceError as fault:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(fault))
        return ExportTraceServiceResponse()

    async def _receive(self, request: web.Request) -> web.Response:
        if (decoder := _DECODERS.get(request.content_type)) is None:
            return web.Response(status=415, text=f"only {PROTOBUF} and {JSON} are taken here")
        try:
            spans = decoder(unpack(await request.read(), request.headers.get("Content-Encoding", "")))
        except InvalidInputError as fault:
            return web.Response(status=400, text=str(fault))
        try:
            await self._keep(spans)
        except HeadraceError as fault:
            return web.Response(status=503, text=str(fault), headers={"Retry-After": "1"})
        taken = b"{}" if request.content_type == JSON else ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=taken, content_type=request.content_type)

    async def _keep(self, spans: list[StoredSpan]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._store.add, spans)
