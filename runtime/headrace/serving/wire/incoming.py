"""The request that is being read from a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from headrace.serving.messages import Request

if TYPE_CHECKING:
    from headrace.serving.wire.limits import Limits

_UPGRADE = ("connection", "upgrade", "http2-settings")
_MOST_NAMES = 1024
_NAMES: dict[bytes, str] = {}
"""Header names as text, in lower case: clients send the same few again and again."""


class Incoming:
    """One request while its bytes come in."""

    __slots__ = ("_limit", "_parts", "_size", "expects", "headers", "keeps_alive", "method", "old", "refused", "url")

    def __init__(self, limits: Limits) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.method = ""
        self.keeps_alive = False
        self.old = False
        """Whether its client speaks HTTP/1.0."""
        self.expects = False
        """Whether the client waits to be asked for the body."""
        self.refused = 0
        """The status with which it is refused already; what still comes of it is discarded."""
        self._limit = limits.body
        self._parts: list[bytes] | bytearray = []
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return self._size

    def header(self, raw_name: bytes, raw_value: bytes) -> None:
        """Take a header; one that is sent twice is joined by a comma."""
        name = _NAMES.get(raw_name) or _name(raw_name)
        value = raw_value.decode("latin-1")
        self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def begin_body(self) -> None:
        """The headers are complete."""
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit:
            self.refused = 413
        self.expects = self.headers.get("expect", "").lower() == "100-continue"

    def body(self, part: bytes) -> None:
        """Take a part of the body; never more than the limit is held."""
        self._size += len(part)
        if self._size > self._limit:
            self.refused = self.refused or 413
        if self.refused:
            self._parts = []
        elif isinstance(self._parts, bytearray):
            self._parts += part
        elif self._parts:
            self._parts = bytearray(self._parts[0]) + part
        else:
            self._parts.append(part)

    def without_upgrade(self) -> bytes:
        """The head of the request, as if the client had not asked for another protocol."""
        kept = {name: value for name, value in self.headers.items() if name not in _UPGRADE}
        if not self.keeps_alive or "close" in self.headers.get("connection", "").lower():
            kept["connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in kept.items())
        return self.method.encode() + b" " + self.url + b" HTTP/1.1\r\n" + lines.encode("latin-1") + b"\r\n"

    def request(self) -> Request:
        """The request, now that it is read to its end.

        Raises:
            ValueError: its target is no path.
        """
        if isinstance(self._parts, bytearray):
            whole: bytes | bytearray = self._parts
        else:
            whole = self._parts[0] if self._parts else b""
        return Request(self.method, _path(self.url), self.headers, whole)


def _path(url: bytes) -> str:
    text = url.decode("latin-1")
    path = text.partition("?")[0] if text.startswith("/") else urlsplit(text).path or "/"
    return unquote(path) if "%" in path else path


def _name(raw: bytes) -> str:
    name = raw.decode("latin-1").lower()
    if len(_NAMES) < _MOST_NAMES:
        _NAMES[raw] = name
    return name
