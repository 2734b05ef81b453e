"""One connection of a client: requests in order, each answered before the next."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from headrace.serving.messages import Response, json_response
from headrace.serving.wire import response as wire
from headrace.serving.wire.incoming import Incoming

if TYPE_CHECKING:
    from headrace.serving.messages import Request
    from headrace.serving.wire.limits import Limits
    from headrace.serving.wire.response import Clock

_LOG = logging.getLogger("headrace.serving")
_LARGE = 65536
"""Bytes of a body from which on it is not copied behind its head."""
_REASONS = {
    400: "The request is no HTTP",
    408: "The request did not come to its end in time",
    413: "The request is larger than {limit} bytes (raise --max-request-bytes)",
    431: "The request's headers are too large",
}


class Responder(Protocol):
    """What answers requests."""

    async def respond(self, request: Request) -> Response:
        """The response; it raises nothing but a cancellation."""

    def enter(self) -> None:
        """A request begins to be worked on."""

    def leave(self) -> None:
        """Its response is written, or its client is gone."""


class Shared(Protocol):
    """What the connections of one listener have in common."""

    limits: Limits
    clock: Clock
    connections: set[Connection]
    closing: bool
    """Whether every response is to be the last of its connection."""
    now: float
    """Seconds on a steady clock, to the second."""

    def gone(self, connection: Connection) -> None:
        """This connection is closed."""


class Connection(asyncio.Protocol):
    """The asyncio protocol of one client, and the callbacks of its parser.

    Args:
        shared: Of all connections of the listener.
        responder: What answers.
    """

    __slots__ = (
        "_busy", "_head", "_incoming", "_loop", "_parser", "_reading", "_refused", "_responder", "_shared", "_task",
        "_transport", "_upgrading", "_waiting", "_writable", "since",
    )  # fmt: skip

    def __init__(self, shared: Shared, responder: Responder) -> None:
        self._shared = shared
        self._responder = responder
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._incoming: Incoming | None = None
        self._upgrading: Incoming | None = None
        self._head = 0
        self._busy = False
        self._reading = True
        self._refused = 0
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Incoming] = deque()
        self._writable: asyncio.Event | None = None
        self.since = shared.now
        """When the last byte came, or the client stopped to take what is sent."""

    # --- asyncio ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register."""
        self._transport = cast("asyncio.Transport", transport)
        self._shared.connections.add(self)

    def connection_lost(self, _fault: Exception | None) -> None:
        """The client is gone: what it waits for leaves every queue."""
        self._shared.gone(self)
        self._transport = None
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        if self._writable is not None:
            self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self.since = self._shared.now
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(400)
            return
        if self._head < 0 or self._incoming is None:
            return
        self._head += len(data)
        if self._head > self._shared.limits.head:
            self._refuse(431)

    def _stay(self, rest: bytes) -> None:
        """No other protocol is spoken, which the client learns from the answer: what follows is HTTP still.

        The parser takes what follows the headers for the other protocol; so it is given the request again, without
        the wish to upgrade.
        """
        asked, self._upgrading = self._upgrading, None
        self._parser = httptools.HttpRequestParser(self)
        if asked is not None:
            self.data_received(asked.without_upgrade() + rest)

    def eof_received(self) -> bool:
        """The client sends no more: it is taken for gone, since nothing tells it from one that is."""
        return False

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent to."""
        self.since = self._shared.now
        if self._writable is None:
            self._writable = asyncio.Event()
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._writable is not None:
            self._writable.set()

    # --- the parser ---------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._refused:
            self._incoming = Incoming(self._shared.limits)
            self._head = 0

    def on_url(self, part: bytes) -> None:
        """A part of the target."""
        if self._incoming is not None:
            self._incoming.url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if self._incoming is not None:
            self._incoming.header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are here."""
        incoming = self._incoming
        if incoming is None:
            return
        self._head = -1
        incoming.method = self._parser.get_method().decode("ascii")
        incoming.keeps_alive = self._parser.should_keep_alive()
        incoming.old = self._parser.get_http_version() == "1.0"
        if self._parser.should_upgrade():
            self._incoming, self._upgrading = None, incoming
            if incoming.method == "CONNECT":
                self._upgrading = None
                self._refuse(400)
            return
        incoming.begin_body()
        if not incoming.expects:
            return
        if incoming.refused:
            self._refuse(incoming.refused)  # it has sent no body yet, and is not asked for it
        elif not self._busy and self._transport is not None:
            self._transport.write(wire.CONTINUE)
            incoming.expects = False

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        incoming = self._incoming
        if incoming is None:
            return
        incoming.body(part)
        if incoming.refused and incoming.size > self._shared.limits.discarded:
            self._refuse(incoming.refused)

    def on_message_complete(self) -> None:
        """The request is read to its end."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        if self._busy:
            self._waiting.append(incoming)
            if len(self._waiting) >= self._shared.limits.pipelined and self._transport is not None:
                self._reading = False
                self._transport.pause_reading()
            return
        self._begin(incoming)

    # --- answering ----------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is read, worked on or sent."""
        return not self._busy and self._incoming is None

    def check(self) -> None:
        """End it where the client has kept it waiting for too long."""
        limits = self._shared.limits
        silent = self._shared.now - self.since
        if self._writable is not None and not self._writable.is_set():
            if silent > limits.unread and self._transport is not None:
                self._transport.abort()
        elif self._busy:
            return
        elif self._incoming is None:
            if silent > limits.idle:
                self.close()
        elif silent > limits.silence:
            self._refuse(408)

    def close(self) -> None:
        """Close it when what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def _begin(self, incoming: Incoming) -> None:
        self._busy = True
        try:
            request = None if incoming.refused else incoming.request()
        except ValueError:
            incoming.refused = 400
            request = None
        if request is None:
            self._refuse(incoming.refused)
            return
        self._responder.enter()
        self._task = self._loop.create_task(self._answer(incoming, request))

    async def _answer(self, incoming: Incoming, request: Request) -> None:
        try:
            response = await self._responder.respond(request)
            await self._send(incoming, response)
        except asyncio.CancelledError:
            if self._transport is not None:
                self._transport.abort()
            raise
        except Exception:  # noqa: BLE001  # a fault of this server's own must not leave the client waiting
            _LOG.exception("%s %s could not be answered", request.method, request.path)
            if self._transport is not None:
                self._transport.abort()
        finally:
            self._task = None
            self._responder.leave()
        self._next()

    async def _send(self, incoming: Incoming, response: Response) -> None:
        closing = self._shared.closing or not incoming.keeps_alive or response.headers.get("connection") == "close"
        if response.stream is not None:
            await self._send_stream(incoming, response, closing=closing)
        else:
            self._write(response, closing=closing, without_body=incoming.method == "HEAD")
        if self._writable is not None:
            await self._writable.wait()
        if closing:
            self.close()

    def _write(self, response: Response, *, closing: bool, without_body: bool = False) -> None:
        if self._transport is None:
            return
        body = response.body
        try:
            head = wire.head(
                response.status, _own(response), self._shared.clock.line, length=len(body), closing=closing
            )
        except ValueError:
            _LOG.exception("a response has headers that cannot be sent")
            plain = json_response({"error": "The model's response has headers that cannot be sent"}, 500)
            self._write(plain, closing=closing, without_body=without_body)
            return
        if without_body:
            self._transport.write(head)
        elif len(body) < _LARGE:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    async def _send_stream(self, incoming: Incoming, response: Response, *, closing: bool) -> None:
        """Parts as they come; in chunks, or to the end of the connection for a client of HTTP/1.0."""
        assert response.stream is not None
        chunked = not incoming.old
        closing = closing or not chunked
        head = wire.head(
            response.status, _own(response), self._shared.clock.line, length=None, closing=closing, chunked=chunked
        )
        try:
            self._put(head)
            async for part in response.stream:
                data = part if isinstance(part, bytes) else str(part).encode()
                self._put(wire.chunk(data) if chunked else data)
                if self._writable is not None:
                    await self._writable.wait()
            self._put(wire.LAST_CHUNK if chunked else b"")
        except Exception:  # noqa: BLE001  # whatever a model's stream raises
            # The head is sent: only a connection that breaks tells the client that this is not all.
            _LOG.exception("the response to %s %s broke off", incoming.method, incoming.url.decode("latin-1"))
            if self._transport is not None:
                self._transport.abort()
        if not chunked:
            self.close()

    def _put(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def _next(self) -> None:
        """Turn to the next request, where one waits."""
        self._busy = False
        self.since = self._shared.now
        if self._transport is None or self._transport.is_closing():
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
        elif self._refused:
            self._refuse(self._refused)
        elif self._incoming is not None and self._incoming.expects and self._head < 0:
            self._transport.write(wire.CONTINUE)
            self._incoming.expects = False
        if not self._reading and len(self._waiting) < self._shared.limits.pipelined:
            self._reading = True
            self._transport.resume_reading()

    def _refuse(self, status: int) -> None:
        """Answer with an error and close, after the requests before it: what follows cannot be read as a request."""
        self._incoming = None
        self._refused = status
        if self._transport is None or self._transport.is_closing():
            return
        if self._task is not None or self._waiting:
            self._transport.pause_reading()
            return
        told = _REASONS[status].format(limit=self._shared.limits.body)
        self._write(json_response({"error": told}, status), closing=True)
        self.close()


def _own(response: Response) -> dict[str, str]:
    """The headers that are not the connection's."""
    headers = response.headers
    if "connection" in headers:
        return {name: value for name, value in headers.items() if name != "connection"}
    return headers if isinstance(headers, dict) else dict(headers)
