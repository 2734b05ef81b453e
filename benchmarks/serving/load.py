"""Requests at a given concurrency, over connections that stay open."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OK = 200


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One POST, sent over and over."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def encoded(self) -> bytes:
        """The bytes on the wire."""
        headers = {"host": "127.0.0.1", "content-length": str(len(self.body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + self.body


async def post(port: int, request: HttpRequest, concurrency: int, count: int) -> bytes:
    """Send ``count`` requests, ``concurrency`` at a time; the last body.

    Raises:
        RuntimeError: an answer was not 200.
    """
    turns = iter(range(count))
    encoded = request.encoded()
    bodies = await asyncio.gather(*(_connection(port, encoded, turns) for _ in range(concurrency)))
    return next(body for body in bodies if body)


async def infer(port: int, request: Any, concurrency: int, count: int) -> Any:
    """The same over gRPC, all calls on one channel.

    Args:
        port: Where the server listens.
        request: A ``ModelInferRequest`` of the Open Inference Protocol.
        concurrency: Calls at a time.
        count: Calls in all.
    """
    import grpc  # noqa: PLC0415  # slow to import, and only for these cases
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub  # noqa: PLC0415  # the same

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        turns = iter(range(count))

        async def caller() -> Any:
            answer = None
            for _ in turns:
                answer = await stub.ModelInfer(request)
            return answer

        return next(answer for answer in await asyncio.gather(*(caller() for _ in range(concurrency))) if answer)


async def _connection(port: int, encoded: bytes, turns: Iterator[int]) -> bytes:
    first = next(turns, None)
    if first is None:
        return b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    body = b""
    try:
        for _ in itertools.chain((first,), turns):
            writer.write(encoded)
            body = await _answer(reader)
    finally:
        writer.close()
    return body


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
    body = await reader.readexactly(length)
    status = int(head[9:12])
    if status != OK:
        raise RuntimeError(f"answered {status}: {body[:300]!r}")
    return body
