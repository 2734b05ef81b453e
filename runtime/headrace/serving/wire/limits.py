"""How much and how slowly a client may send."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection."""

    body: int = 32 * MEBIBYTE
    """Bytes of a request's body; more gets 413."""
    head: int = 64 * 1024
    """Bytes of a request's first line and headers; more gets 431."""
    discarded: int = 256 * MEBIBYTE
    """Bytes of a refused body that are read for the client's sake, who would else see a reset in place of the 413."""
    pipelined: int = 8
    """Requests that wait on one connection for those before them; with more it is not read."""
    idle: float = 65.0
    """Seconds that a connection is kept between requests: longer than clients and proxies keep theirs, so that they
    close first, and no request meets a closing connection."""
    silence: float = 30.0
    """Seconds without a byte in the middle of a request; then 408."""
    unread: float = 120.0
    """Seconds that a client may take nothing of its response."""
