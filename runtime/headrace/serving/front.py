"""The ASGI application that listens from the first moment: alive while the model loads, draining at the end.

It owns the count of requests in flight. What stands behind it is set when the models are loaded, so that nothing
heavy is imported before the port is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from headrace.errors import PayloadTooLargeError
from headrace.serving.messages import (
    ClientGoneError,
    Request,
    Response,
    headers_of,
    json_response,
    read_body,
    send_response,
)

if TYPE_CHECKING:
    from headrace.serving.messages import Receive, Scope, Send

LOADING_RETRY = "1"
"""``Retry-After`` in seconds while the model loads."""
_PATIENCE = 0.1
"""Seconds between two looks at the requests that are worked on; at the second look a request gets a task of its own
that waits for its client to go away, which short requests are spared."""


class Application(Protocol):
    """What answers requests once the models are loaded."""

    async def ready(self) -> bool:
        """Whether every model is healthy."""

    async def answer(self, request: Request) -> Response:
        """The response to a request that has been read to its end."""


class Front:
    """Reads requests, answers probes by itself, and hands everything else to the application.

    Args:
        name: What is being loaded, for those who come too early.
        max_request_bytes: Largest body that is read.
    """

    def __init__(self, name: str, max_request_bytes: int) -> None:
        self.application: Application | None = None
        self.draining = False
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._watch = Watch()
        self._name = name
        self._limit = max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] != "http":
            return
        self.in_flight += 1
        try:
            await self._serve(scope, receive, send)
        except ClientGoneError:
            pass
        finally:
            self.in_flight -= 1
            if self.draining and not self.in_flight:
                self._idle.set()

    async def drain(self, grace: float) -> int:
        """Refuse to be ready, and wait until all that is in flight is answered.

        Args:
            grace: Seconds to wait at most.

        Returns:
            How many requests were not answered in time.
        """
        self.draining = True
        if self.in_flight:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace)
        return self.in_flight

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        try:
            body = await read_body(receive, headers, self._limit) if scope["method"] != "GET" else b""
            request = Request(scope["method"], scope["path"], headers, body)
            response = await self._answer(request, receive)
        except PayloadTooLargeError as fault:
            # Perhaps not all of the body was read: the connection cannot be used again.
            response = json_response({"error": str(fault)}, 413, {"connection": "close"})
        if self.draining:
            response = Response(
                response.status, {**response.headers, "connection": "close"}, response.body, response.stream
            )
        await send_response(send, response)

    async def _answer(self, request: Request, receive: Receive) -> Response:
        if request.method in ("GET", "HEAD") and (probe := await self._probe(request.path)) is not None:
            return probe
        if self.application is None:
            return json_response(
                {"error": f"Model with name {self._name} is not ready."}, 503, {"retry-after": LOADING_RETRY}
            )
        if request.method != "POST":
            return await self.application.answer(request)
        return await self._watch.answer(self.application, request, receive)

    async def _probe(self, path: str) -> Response | None:
        if path == "/":
            return json_response({"status": "alive"})
        if path == "/v2/health/live":
            return json_response({"live": True})
        if path == "/v2/health/ready":
            ready = self.application is not None and not self.draining and await self.application.ready()
            return json_response({"ready": ready}, 200 if ready else 503)
        return None


class Watch:
    """Looks whether the clients of long requests are still there, and cancels the work for those that are not.

    One timer serves all requests; a request that is answered before the timer's next but one turn costs nothing more.
    """

    def __init__(self) -> None:
        self._working: dict[asyncio.Task[object], _Client] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def answer(self, application: Application, request: Request, receive: Receive) -> Response:
        """The application's response; when the client goes away meanwhile, its request leaves every queue.

        Raises:
            ClientGoneError: the client went away.
        """
        task = asyncio.current_task()
        assert task is not None
        client = self._working[task] = _Client(receive)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._look)
        try:
            return await application.answer(request)
        except asyncio.CancelledError:
            if client.gone:
                raise ClientGoneError from None
            raise
        finally:
            del self._working[task]
            if client.waiting is not None:
                client.waiting.cancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_PATIENCE, self._look) if self._working else None
        for task, client in self._working.items():
            client.looks += 1
            if client.looks > 1 and client.waiting is None:
                client.waiting = loop.create_task(client.wait(task))


class _Client:
    """The other end of one request that is being worked on."""

    __slots__ = ("gone", "looks", "receive", "waiting")

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.gone = False
        self.looks = 0
        self.waiting: asyncio.Task[None] | None = None

    async def wait(self, working: asyncio.Task[object]) -> None:
        """Cancel the work when the connection is closed."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        working.cancel()
