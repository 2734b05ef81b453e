"""A Kubernetes API server on a free port of this machine."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import yaml
from aiohttp import web

from headrace.testing.cluster.controllers import Controllers
from headrace.testing.cluster.faults import Faults
from headrace.testing.cluster.rest import rest_app
from headrace.testing.cluster.store import ClusterStore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running server. Its store belongs to its own thread: ask for everything through ``call``."""

    url: str
    store: ClusterStore
    controllers: Controllers
    faults: Faults
    _loop: asyncio.AbstractEventLoop

    def call(self, action: Callable[[], Found]) -> Found:
        """The result of an action on store, controllers or faults."""

        async def run() -> Found:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def kubeconfig(self, path: Path, *, token: str = "", authority: Path | None = None) -> Path:
        """Write a kubeconfig for the server, with one context ``test``; the path."""
        cluster = {"server": self.url, **({"certificate-authority": str(authority)} if authority else {})}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path


@contextmanager
def api_server(
    *, token: str | None = None, tls: ssl.SSLContext | None = None, delay: float = 0.0, port: int = 0
) -> Iterator[ApiServer]:
    """Run an API server in a thread of its own.

    Args:
        token: Requests without this bearer token are refused with 401.
        tls: Serve https with this.
        delay: Seconds until the scripted operators have done their work.
        port: 0 for a free one.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-api-server", daemon=True)
    thread.start()

    async def start() -> tuple[ApiServer, web.AppRunner]:
        store, faults = ClusterStore(), Faults()
        # Hung-up callers' handlers end at once, as those of a real server do.
        runner = web.AppRunner(rest_app(store, faults, token), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        host, bound = runner.addresses[0][:2]
        url = f"{'https' if tls else 'http'}://{host}:{bound}"
        return ApiServer(url, store, Controllers(store, delay=delay), faults, loop), runner

    server, runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
