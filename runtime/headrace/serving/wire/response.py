"""A response as bytes."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINES = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n" for status in HTTPStatus}
_NO_LENGTH = (204, 304)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Clock:
    """The ``date`` header, made anew when the second changes."""

    def __init__(self) -> None:
        self.line = ""
        self.tick(0.0)

    def tick(self, seconds: float) -> None:
        """It is now ``seconds`` since the epoch."""
        self.line = f"date: {formatdate(seconds, usegmt=True)}\r\n"


def head(
    status: int, headers: Mapping[str, str], date: str, *, length: int | None, closing: bool, chunked: bool = False
) -> bytes:
    """Everything before the body.

    Args:
        status: The status code.
        headers: By name; neither of the length nor of the connection.
        date: The line that :class:`Clock` holds.
        length: Bytes of the body; None where they are not known.
        closing: Whether the connection ends with this response.
        chunked: Whether the body comes in chunks.

    Raises:
        ValueError: a header holds a line break, or what no header can.
    """
    lines = [_LINES.get(status) or f"HTTP/1.1 {status} \r\n", date]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    if length is not None and status not in _NO_LENGTH:
        lines.append(f"content-length: {length}\r\n")
    if chunked:
        lines.append("transfer-encoding: chunked\r\n")
    if closing:
        lines.append("connection: close\r\n")
    lines.append("\r\n")
    text = "".join(lines)
    if not text.count("\n") == text.count("\r") == len(lines) or "\0" in text:
        raise ValueError("A response header holds a line break")
    return text.encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, section 7.1); empty for no data, since an empty chunk would end it."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
