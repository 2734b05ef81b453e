"""An event receiver's stand-in: writes what it gets to JOURNAL, and answers as REPLY says.

REPLY: the type of the event that it answers with; empty answers 202. FAIL: the status of every answer instead.
"""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPLY, FAIL = os.environ.get("REPLY", ""), os.environ.get("FAIL", "")


class Handler(BaseHTTPRequestHandler):
    """Takes events."""

    def do_POST(self) -> None:
        """Journal it, and answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        event = {name[3:].lower(): value for name, value in self.headers.items() if name.lower().startswith("ce-")}
        with Path(os.environ["JOURNAL"]).open("a") as file:
            file.write(json.dumps({**event, "data": body.decode(), "path": self.path}) + "\n")
        if FAIL:
            self.send_response(int(FAIL))
            self.send_header("Content-Length", "0")
        elif REPLY:
            self.send_response(200)
            answer = {"specversion": "1.0", "id": f"re-{event['id']}", "source": "/me", "type": REPLY}
            for name, value in answer.items():
                self.send_header(f"ce-{name}", value)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_response(202)
            self.send_header("Content-Length", "0")
        self.end_headers()
        if REPLY and not FAIL:
            self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
