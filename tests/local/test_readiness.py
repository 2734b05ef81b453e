"""Readiness probes."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from headrace.local.probes import Probe
from headrace.local.readiness import Readiness, ask, new_probing_session

if TYPE_CHECKING:
    from collections.abc import Iterator


class Handler(BaseHTTPRequestHandler):
    """Closes a connection when asked to, and does not say so in its answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer any method."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815  # http.server's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def server() -> Iterator[int]:
    """The port of a server that runs in a thread."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


async def _never(words: tuple[str, ...], seconds: float) -> bool:
    raise AssertionError


def test_no_request_goes_down_the_connection_of_a_probe() -> None:
    """A POST right after a probe never finds its connection closed, whether or not the server announces the close."""

    async def rounds(port: int) -> None:
        async with new_probing_session() as session:
            for _ in range(200):
                assert await ask(session, Probe("http", path="/"), port, _never) is Readiness.READY
                async with session.post(f"http://127.0.0.1:{port}/", data=b"x") as response:
                    assert response.status == 200

    with server() as port:
        asyncio.run(rounds(port))
