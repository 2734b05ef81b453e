"""The doors of the twin: the public one that knows all services by name, and a loopback port for each service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from headrace.errors import ConfigurationError
from headrace.local.proxy import error
from headrace.local.routing import Route, Router, is_bare, public_hosts, without_port
from headrace.telemetry.metrics.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headrace.local.h2_link import Link
    from headrace.local.proxy import Proxy
    from headrace.local.resources import Name
    from headrace.local.running_route import RunningRoute

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HOST = "127.0.0.1"
METRICS = "/metrics"
"""The path of the twin's page for Prometheus; its other pages are JSON."""
_PREFACE = b"PRI * HTTP/2.0"
"""How a client of HTTP/2 begins that knows beforehand (RFC 9113, section 3.4), as gRPC's do without TLS."""
_CLOSING = 2.0
"""Seconds that a door waits for connections at the end; requests are done by then."""


class Door:
    """A port that answers HTTP/1.1 and HTTP/2 (and so gRPC), which are told apart by their first bytes."""

    def __init__(self) -> None:
        self.handler: Handler = _not_yet
        """Answers each request of HTTP/1.1; set once there is something behind the door."""
        self.http2: Callable[[], Link] | None = None
        """The protocol of a connection of HTTP/2."""
        self.address = ""
        """``host:port``, once open."""
        # A client that goes away cancels its request; bodies pass as they are.
        server = web.Server(self._handle, handler_cancellation=True, auto_decompress=False, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSING)
        self._listening: asyncio.AbstractServer | None = None
        self._unknown: set[asyncio.Transport] = set()
        self._links: set[Link] = set()

    async def open(self, port: int = 0) -> None:
        """Listen on the loopback address; 0 takes a free port.

        Raises:
            ConfigurationError: the port is taken or needs rights.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(
                lambda: _Sniffer(self._chosen, self._unknown), HOST, port, backlog=1024
            )
        except OSError as fault:
            raise ConfigurationError(
                f"Port {port} of {HOST} cannot be used: {fault.strerror}", hint="take another with --port"
            ) from fault
        self.address = f"{HOST}:{self._listening.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening, and let what is answered be answered."""
        if self._listening is not None:
            self._listening.close()
        for transport in self._unknown:
            transport.abort()
        links = [asyncio.ensure_future(link.drain()) for link in self._links]
        if links:
            _, late = await asyncio.wait(links, timeout=_CLOSING)
            for task in late:
                task.cancel()
        for link in self._links:
            link.close()
        await self._runner.cleanup()

    def _chosen(self, http2: bool) -> asyncio.Protocol:  # noqa: FBT001 - one of two protocols
        if http2 and self.http2 is not None:
            self._links = {link for link in self._links if not link.closed}
            link = self.http2()
            self._links.add(link)
            return link
        assert self._runner.server is not None
        return self._runner.server()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self.handler(request)


class _Sniffer(asyncio.Protocol):
    """Reads the first bytes of a connection and hands it to the protocol that they are of."""

    def __init__(self, choose: Callable[[bool], asyncio.Protocol], unknown: set[asyncio.Transport]) -> None:
        self._choose = choose
        self._unknown = unknown
        self._first = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unknown.add(transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._transport is not None:
            self._unknown.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._first += data
        if len(self._first) < len(_PREFACE) and _PREFACE.startswith(self._first):
            return
        assert self._transport is not None
        self._unknown.discard(self._transport)
        protocol = self._choose(self._first.startswith(_PREFACE))
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._first)


class Ingress:
    """Routes by host and path.

    Args:
        routes: By each of their names.
        proxy: Forwards.
        pages: The twin's own answers at the bare address, by path: ``/`` is its status.
    """

    def __init__(
        self, routes: Mapping[Name, RunningRoute], proxy: Proxy, pages: Mapping[str, Callable[[], bytes]]
    ) -> None:
        self._router = Router(routes)
        self._routes = dict(routes)
        self._proxy = proxy
        self._pages = dict(pages)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        host, path = request.headers.get(hdrs.HOST, ""), request.raw_path
        if route := self._router.find(host, path):
            return await self._proxy.forward(request, route.target, route.path)
        page = self._pages.get(path)
        if page and request.method in (hdrs.METH_GET, hdrs.METH_HEAD) and is_bare(without_port(host)):
            kind = CONTENT_TYPE if path == METRICS else "application/json"
            return web.Response(body=page(), headers={hdrs.CONTENT_TYPE: kind})
        return error(404, f"No service is called '{host}' or stands at '{path}'", services=self._known())

    def find(self, host: str, path: str) -> Route[RunningRoute] | None:
        """The route of a request."""
        return self._router.find(host, path)

    def _known(self) -> list[dict[str, str]]:
        return [
            {
                "host": public_hosts((name,))[0],
                "path": f"/{name.namespace}/{name.name}/",
                "url": f"http://{route.address}",
            }
            for name, route in sorted(self._routes.items())
        ]


def straight_to(route: RunningRoute, proxy: Proxy) -> Handler:
    """The handler of a route's own port."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await proxy.forward(request, route, request.raw_path)

    return handle


async def _not_yet(_: web.BaseRequest) -> web.StreamResponse:
    return error(503, "the twin is starting", {"Retry-After": "1"})
