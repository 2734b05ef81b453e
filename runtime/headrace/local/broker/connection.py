"""One client connection: frames in, responses out, in order.

Requests of a connection are answered one after the other, as in Kafka: a pipelining client relies on the order. A
request that must wait (a fetch, a join) holds back those behind it, and nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from headrace.local.broker.api.table import (
    API_VERSIONS_KEY,
    APIS,
    BEFORE_AUTHENTICATION,
    Api,
    versions_response,
)
from headrace.local.broker.codes import Code
from headrace.local.broker.core import Call
from headrace.local.broker.sasl import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from headrace.local.broker.core import Core

logger = logging.getLogger(__name__)
_HEAD = struct.Struct(">hhi")
_LENGTH = struct.Struct(">i")
_STRING_LENGTH = struct.Struct(">h")
_LENGTH_SIZE = 4
_MOST_WAITING = 64
"""Requests of one connection that are read ahead of the one that is answered."""
_WRITE_BUFFER = 16 * 1024 * 1024


class MalformedRequestError(Exception):
    """The bytes are no request that this broker can read: the connection is closed."""


class Connection(asyncio.Protocol):
    """Serves one client.

    Args:
        core: The broker.
        connections: Where it enters itself as long as it is open.
    """

    def __init__(self, core: Core, connections: set[Connection]) -> None:
        self._core = core
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._frames: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._session = Session(core.settings)
        self._can_write = True
        self._reads = True
        self._peer = ""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Resolved when the connection has ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        # uvloop's transports do not derive from asyncio.Transport.
        self._transport = transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if peer else "?"
        transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what the client waited for."""
        del exc
        self._connections.discard(self)
        self._frames.clear()
        self._transport = None
        if self._waiting is not None:
            self._waiting.cancel()
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Cut the stream into frames and answer them."""
        self._buffer += data
        try:
            self._cut_frames()
        except MalformedRequestError as fault:
            self._refuse(fault)
            return
        self._answer_waiting()

    def pause_writing(self) -> None:
        """The client does not read: answer nothing more for now."""
        self._can_write = False

    def resume_writing(self) -> None:
        """The client reads again."""
        self._can_write = True
        self._answer_waiting()

    def close(self) -> None:
        """Close the connection, without what is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    async def finish(self, patience: float) -> None:
        """Close the connection; what was answered is still sent, what waits is given up.

        Args:
            patience: Seconds for a client that reads slowly.
        """
        self._frames.clear()
        if self._waiting is not None:
            waiting = self._waiting
            waiting.cancel()
            await asyncio.wait((waiting,))
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait((self.lost,), timeout=patience)
            self.close()

    def _cut_frames(self) -> None:
        buffer, position = self._buffer, 0
        while len(buffer) - position >= _LENGTH_SIZE:
            (size,) = _LENGTH.unpack_from(buffer, position)
            if not _HEAD.size <= size <= self._core.settings.max_request_bytes:
                raise MalformedRequestError(
                    f"a frame of {size} bytes, allowed are {_HEAD.size} to {self._core.settings.max_request_bytes}"
                )
            end = position + _LENGTH_SIZE + size
            if len(buffer) < end:
                break
            self._frames.append(bytes(memoryview(buffer)[position + _LENGTH_SIZE : end]))
            position = end
        if position:
            del buffer[:position]

    def _answer_waiting(self) -> None:
        while self._frames and self._waiting is None and self._can_write and self._transport is not None:
            try:
                self._answer(self._frames.popleft())
            except MalformedRequestError as fault:
                self._refuse(fault)
            except Exception:
                logger.exception("Kafka client %s: a request failed, its connection is closed", self._peer)
                self.close()
                return
        self._throttle()

    def _throttle(self) -> None:
        reads = len(self._frames) < _MOST_WAITING
        if reads is self._reads or self._transport is None or self._transport.is_closing():
            return
        self._reads = reads
        if reads:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _answer(self, frame: bytes) -> None:
        key, version, correlation = _HEAD.unpack_from(frame)
        api = APIS.get(key)
        if api is None or not api.lowest <= version <= api.highest:
            if key != API_VERSIONS_KEY:
                raise MalformedRequestError(f"request {key} in version {version} is not supported")
            self._send(versions_response(Code.UNSUPPORTED_VERSION), 0, correlation)
            return
        if not self._session.may_ask and key not in BEFORE_AUTHENTICATION:
            raise MalformedRequestError(f"request {key} before it has authenticated")
        answer = api.handle(self._core, self._call(api, version, frame))
        if asyncio.iscoroutine(answer):
            task = asyncio.get_running_loop().create_task(self._answer_later(answer, version, correlation))
            self._waiting = task
            task.add_done_callback(self._go_on)
        elif answer is not None:
            self._send(answer, version, correlation)
        if self._session.is_refused and self._transport is not None:
            # After the answer that says why.
            logger.warning("Kafka client %s: not authenticated; its connection is closed", self._peer)
            self._frames.clear()
            self._transport.close()

    def _call(self, api: Api, version: int, frame: bytes) -> Call:
        try:
            client_id, position = _client_id(frame, flexible=api.request.flexible_version_q(version))
            request = api.request.decode(memoryview(frame)[position:], version=version)
        except Exception as fault:
            # The codec raises whatever a wrong byte leads to.
            raise MalformedRequestError(f"{api.request.name} version {version} cannot be read: {fault!r}") from fault
        return Call(request, version, client_id, self._peer.rpartition(":")[0], self._session)

    async def _answer_later(self, answer: Awaitable[Any], version: int, correlation: int) -> None:
        self._send(await answer, version, correlation)

    def _go_on(self, done: asyncio.Future[None]) -> None:
        self._waiting = None
        if done.cancelled():
            return
        if (fault := done.exception()) is not None:
            logger.error("Kafka client %s: a request failed, its connection is closed", self._peer, exc_info=fault)
            self.close()
            return
        self._answer_waiting()

    def _send(self, response: Any, version: int, correlation: int) -> None:
        if self._transport is not None:
            response.API_VERSION = version
            response.with_header(correlation_id=correlation)
            self._transport.write(response.encode(header=True, framed=True))

    def _refuse(self, fault: MalformedRequestError) -> None:
        logger.warning("Kafka client %s: %s; its connection is closed", self._peer, fault)
        self._frames.clear()
        self._buffer.clear()
        self.close()


def _client_id(frame: bytes, *, flexible: bool) -> tuple[str, int]:
    """The client id of a request header (version 1 or 2), and where the body begins."""
    position = _HEAD.size
    (length,) = _STRING_LENGTH.unpack_from(frame, position)
    position += _STRING_LENGTH.size
    client_id = ""
    if length > 0:
        client_id = frame[position : position + length].decode()
        position += length
    if flexible:
        position = _skip_tags(frame, position)
    return client_id, position


def _skip_tags(frame: bytes, position: int) -> int:
    count, position = _varint(frame, position)
    for _ in range(count):
        _tag, position = _varint(frame, position)
        size, position = _varint(frame, position)
        position += size
    return position


def _varint(frame: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = frame[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, position
        shift += 7
