"""A model server's stand-in: quick to start, and as slow or as broken as the environment and the query say.

START_DELAY: seconds before it listens. CRASH: says this on stderr and exits with 3. CRASHES: a file with a number;
while it is above 0, that is counted down and the process exits. JOURNAL: a file to which it writes what it lives
through. Query `delay`: seconds before the answer; `pause`: seconds after each piece of a stream; `die`: ends by
SIGKILL instead of answering.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAME = os.environ.get("HOSTNAME", "?")


def journal(what: str) -> None:
    if path := os.environ.get("JOURNAL"):
        with Path(path).open("a") as file:
            file.write(f"{NAME} {what}\n")


class Server(ThreadingHTTPServer):
    """Takes many connections at a time."""

    request_queue_size = 1024


class Handler(BaseHTTPRequestHandler):
    """Answers what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer any method."""
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self._body()
        if url.path == "/v2/health/ready":
            self._answer(b"{}")
            return
        journal(f"request {self.path}")
        if "die" in query:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(query.get("delay", "0")))
        if url.path == "/raw":
            self._answer(body)
        elif url.path == "/stream":
            self._stream(int(query["chunks"]), "cut" in query, float(query.get("pause", "0")))
        else:
            self._answer(json.dumps(self._echo(body)).encode(), int(query.get("status", "200")))

    def _echo(self, body: bytes) -> dict[str, Any]:
        return {
            "method": self.command,
            "path": self.path,
            "headers": {key.lower(): value for key, value in self.headers.items()},
            "bytes": len(body),
            "pid": os.getpid(),
            "name": NAME,
            "argv": sys.argv[1:],
            "environment": dict(os.environ),
            "cwd": str(Path.cwd()),
        }

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, chunks: int, cut: bool, pause: float) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(chunks):
            self.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            self.wfile.flush()
            time.sleep(pause)
        if cut:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Keep the log to what the test looks for."""


for method in ("POST", "PUT", "HEAD"):
    setattr(Handler, f"do_{method}", Handler.do_GET)


def crash_perhaps() -> None:
    if words := os.environ.get("CRASH"):
        sys.stderr.write(f"Traceback (most recent call last):\n{words}\n")
        sys.exit(3)
    if path := os.environ.get("CRASHES"):
        left = int(Path(path).read_text())
        if left > 0:
            Path(path).write_text(str(left - 1))
            sys.exit(f"{left} to go")


def main() -> None:
    journal("start")
    crash_perhaps()
    time.sleep(float(os.environ.get("START_DELAY", "0")))
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    # Waited for, not handled: a handler that sets an Event deadlocks where it comes in the middle of its wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    journal("listens")
    print("listens", flush=True)  # noqa: T201 - a line for the log
    signal.sigwait({signal.SIGTERM})
    journal("SIGTERM")
    os._exit(0)


main()
