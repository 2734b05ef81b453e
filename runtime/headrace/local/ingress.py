"""The doors of the twin: the public one that knows all services by name, and a loopback port for each service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from headrace.errors import ConfigurationError
from headrace.local.proxy import error
from headrace.local.routing import Router, is_bare, public_hosts, without_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headrace.local.proxy import Proxy
    from headrace.local.resources import Name
    from headrace.local.running_service import RunningService

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

HOST = "127.0.0.1"
_CLOSING = 2.0
"""Seconds that a door waits for connections at the end; requests are done by then."""


class Door:
    """A port that answers HTTP by its handler."""

    def __init__(self) -> None:
        self.handler: Handler = _not_yet
        """Answers each request; set once there is something behind the door."""
        self.address = ""
        """``host:port``, once open."""
        # A client that goes away cancels its request; bodies pass as they are.
        server = web.Server(self._handle, handler_cancellation=True, auto_decompress=False, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSING)

    async def open(self, port: int = 0) -> None:
        """Listen on the loopback address; 0 takes a free port.

        Raises:
            ConfigurationError: the port is taken or needs rights.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, port, backlog=1024).start()
        except OSError as fault:
            raise ConfigurationError(
                f"Port {port} of {HOST} cannot be used: {fault.strerror}", hint="take another with --port"
            ) from fault
        self.address = f"{HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self.handler(request)


class Ingress:
    """Routes by host and path.

    Args:
        services: By each of their names.
        proxy: Forwards.
        status: The body of ``GET /`` at the bare address.
    """

    def __init__(self, services: Mapping[Name, RunningService], proxy: Proxy, status: Callable[[], bytes]) -> None:
        self._router = Router(services)
        self._services = dict(services)
        self._proxy = proxy
        self._status = status

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        host, path = request.headers.get(hdrs.HOST, ""), request.raw_path
        if route := self._router.find(host, path):
            return await self._proxy.forward(request, route.target, route.path)
        if path == "/" and request.method in (hdrs.METH_GET, hdrs.METH_HEAD) and is_bare(without_port(host)):
            return web.Response(body=self._status(), content_type="application/json")
        return error(404, f"No service is called '{host}' or stands at '{path}'", services=self._known())

    def _known(self) -> list[dict[str, str]]:
        return [
            {
                "host": public_hosts((name,))[0],
                "path": f"/{name.namespace}/{name.name}/",
                "url": f"http://{service.address}",
            }
            for name, service in sorted(self._services.items())
        ]


def straight_to(service: RunningService, proxy: Proxy) -> Handler:
    """The handler of a service's own port."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await proxy.forward(request, service, request.raw_path)

    return handle


async def _not_yet(_: web.BaseRequest) -> web.StreamResponse:
    return error(503, "the twin is starting", {"Retry-After": "1"})
