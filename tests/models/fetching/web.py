"""A web server of one test: files, and what may go wrong with them."""

from __future__ import annotations

import http.server
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Web:
    """What is served, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By path, without the query."""
    answers: dict[str, Callable[[str], Answer]] = field(default_factory=dict)
    """By the beginning of the path: what answers, given the whole path, before the files do."""
    login: str = ""
    """The ``Authorization`` that is wanted; empty for none."""
    breaks: list[int] = field(default_factory=list)
    """After how many bytes the next answers break off, one by one."""
    holds: threading.Event = field(default_factory=threading.Event)
    """Answers wait in their middle until it is set."""
    begun: threading.Event = field(default_factory=threading.Event)
    """Half of an answer is out."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    def __post_init__(self) -> None:
        self.holds.set()

    @property
    def url(self) -> str:
        """Without a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


def serve(web: Web, certificate: Path | None = None) -> http.server.ThreadingHTTPServer:
    """Serve it, over TLS with a certificate, until ``shutdown``."""
    server = _Server(web)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        web.scheme = "https"
    web.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, web: Web) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.web = web

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of a test."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """The headers."""
        self._begin()

    def do_GET(self) -> None:
        """A file, as well as the test lets it come."""
        web = self.server.web
        status, content = self._begin()
        end = web.breaks.pop(0) if web.breaks and status < 300 else len(content)
        half = min(end, len(content) // 2)
        self.wfile.write(content[:half])
        self.wfile.flush()
        if content:
            web.begun.set()
        web.holds.wait(60)
        self.wfile.write(content[half:end])

    def _begin(self) -> tuple[int, bytes]:
        self.server.web.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        status, headers, content = self._found()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        return status, content

    def _found(self) -> Answer:
        web = self.server.web
        path = self.path.partition("?")[0]
        if web.login and self.headers.get("Authorization") != web.login:
            return 401, {}, b"who are you?"
        answers = (answer for begin, answer in web.answers.items() if self.path.startswith(begin))
        if (answer := next(answers, None)) is not None:
            return answer(self.path)
        if path not in web.files:
            return 404, {}, b"nothing here"
        content = web.files[path]
        tag = {"ETag": f'"{hash(content)}"', "Content-Type": "text/plain"}
        asked = self.headers.get("Range")
        if asked is None or self.headers.get("If-Range") != tag["ETag"]:
            return 200, tag, content
        return 206, tag, content[int(asked.removeprefix("bytes=").rstrip("-")) :]
