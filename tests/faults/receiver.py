"""The sink of the fault suite: answers over HTTP as a model server would, behind a relay that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Coroutine

PATIENCE = 30.0
_CHUNK = 1 << 16


class Relay:
    """A TCP relay to one port: the network between dispatcher and sink.

    Args:
        target: The port behind it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0

    async def mend(self) -> None:
        """Take connections, on the same port as before."""
        self._flows.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection off and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in tuple(self._ends):
            end.transport.abort()
        self._flows.set()

    async def hang(self) -> None:
        """Let nothing through any more, without a word to either side."""
        self._flows.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
            self._ends.add(outer)
            try:
                await asyncio.gather(self._pump(reader, outer), self._pump(inner, writer))
            finally:
                self._drop(outer)
        except OSError:
            pass  # one of the ends has gone: so does the other
        finally:
            self._drop(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        writer.close()

    def _drop(self, end: asyncio.StreamWriter) -> None:
        self._ends.discard(end)
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            end.transport.abort()


class Receiver:
    """Answers every event with its own data; an event that says it is poison, with 500. In a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="receiver", daemon=True)
        self._runner: web.AppRunner | None = None
        self._relay: Relay | None = None
        self.delay = 0.0
        """Seconds that every answer takes."""
        self.got: Counter[str] = Counter()
        """Deliveries by event id."""

    @property
    def url(self) -> str:
        """Where the dispatcher delivers: through the relay."""
        assert self._relay is not None
        return f"http://127.0.0.1:{self._relay.port}"

    def open(self) -> None:
        """Listen."""
        self._thread.start()
        self._do(self._open())

    def close(self) -> None:
        """Let go of everything."""
        if self._relay is not None:
            self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def mend(self) -> None:
        """See :meth:`Relay.mend`."""
        assert self._relay is not None
        self._do(self._relay.mend())

    def cut(self) -> None:
        """See :meth:`Relay.cut`."""
        assert self._relay is not None
        self._do(self._relay.cut())

    def hang(self) -> None:
        """See :meth:`Relay.hang`."""
        assert self._relay is not None
        self._do(self._relay.hang())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_get("/v2/health/ready", self._ready)
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._relay = Relay(self._runner.addresses[0][1])
        await self._relay.mend()

    async def _close(self) -> None:
        assert self._relay is not None
        assert self._runner is not None
        await self._relay.cut()
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.got[unquote(request.headers["ce-id"])] += 1
        await asyncio.sleep(self.delay)
        status = 500 if json.loads(body).get("poison") else 200
        return web.Response(status=status, body=body, content_type="application/json")
