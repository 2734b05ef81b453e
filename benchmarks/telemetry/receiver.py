"""OtelTap, an OTLP receiver of somebody else's, as a process: what it prints of the spans that it got.

PyPI has it as `oteltap`; it is in the dependency group ``test``.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

START = 30.0
_KINDS = ("", "", " SERVER", " CLIENT", " PRODUCER", " CONSUMER")


@dataclass(frozen=True, slots=True)
class Received:
    """A span, as OtelTap prints it."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    begin: int
    end: int
    """Unix time in nanoseconds."""
    attributes: Mapping[str, Any]
    events: tuple[str, ...]
    links: tuple[str, ...]
    """Trace ids."""
    children: list[Received] = field(default_factory=list)


class OtelTap:
    """A running OtelTap; a context manager."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probing:
            self.port = int(probing.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.spans: list[Received] = []
        """What it has printed so far; of one span that came twice, both."""
        command = [sys.executable, "-m", "oteltap", "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reading = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reading.start()
        ends = time.monotonic() + START
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if time.monotonic() > ends or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()

    def traces(self) -> dict[str, list[Received]]:
        """The spans by trace."""
        found: dict[str, list[Received]] = defaultdict(list)
        for span in self.spans:
            found[span.trace_id].append(span)
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.startswith("{"):
                    self.spans += _spans(json.loads(line))


def roots(spans: list[Received]) -> list[Received]:
    """The spans of one trace that have no parent among them, each with its children, by start."""
    known = {span.span_id: span for span in spans}
    for span in known.values():
        span.children.clear()
    found: list[Received] = []
    for span in sorted(known.values(), key=lambda one: one.begin):
        parent = known.get(span.parent_id)
        (parent.children if parent else found).append(span)
    return found


def tree(spans: list[Received]) -> str:
    """One trace as text: names, kinds, milliseconds, events, links to other traces."""
    return "\n".join(line for root in roots(spans) for line in _lines(root, ""))


def _lines(span: Received, indent: str) -> Iterator[str]:
    told = f"{indent}{span.name}{_KINDS[span.kind]}  {(span.end - span.begin) / 1e6:.1f} ms"
    other = sorted({link for link in span.links if link != span.trace_id})
    yield told + (f"  links to {len(other)} other trace{'s' if len(other) > 1 else ''}" if other else "")
    yield from (f"{indent}  · {event}" for event in span.events)
    for child in span.children:
        yield from _lines(child, f"{indent}  ")


def _spans(document: Any) -> Iterator[Received]:
    """OtelTap prints a span a line, or an export a line, in OTLP's JSON."""
    if "resourceSpans" in document:
        for resource in document["resourceSpans"]:
            for scope in resource.get("scopeSpans", ()):
                yield from map(_span, scope.get("spans", ()))
    elif "spanId" in document:
        yield _span(document)


def _span(found: Mapping[str, Any]) -> Received:
    return Received(
        trace_id=_hex(found["traceId"], 32),
        span_id=_hex(found["spanId"], 16),
        parent_id=_hex(found.get("parentSpanId", ""), 16),
        name=found["name"],
        kind=int(found.get("kind", 0)),
        begin=int(found["startTimeUnixNano"]),
        end=int(found["endTimeUnixNano"]),
        attributes={pair["key"]: next(iter(pair["value"].values()), None) for pair in found.get("attributes", ())},
        events=tuple(event["name"] for event in found.get("events", ())),
        links=tuple(_hex(link["traceId"], 32) for link in found.get("links", ())),
    )


def _hex(text: str, digits: int) -> str:
    return text if len(text) in (0, digits) else base64.b64decode(text).hex()
