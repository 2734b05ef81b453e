"""Values over a stream socket between two processes of one server, pickled.

A frame is its head (three numbers), the lengths of the pieces that are not in the pickle, the pickle, and the pieces,
each at a multiple of 64 bytes so that an array begins where the processor likes it. What is large is received
straight into the memory in which the array then lies: nothing copies it in this process.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Buffer = bytes | bytearray | memoryview

_HEAD = struct.Struct("=QII")
"""Bytes that follow, bytes of the pickle, number of pieces beside it."""
_SCRATCH = 65536
_STEP = 64
_ZEROS = bytes(_STEP)


class Codec(Protocol):
    """How values become pickles; every one can be read alike."""

    def dumped(self, value: Any) -> tuple[bytes, Sequence[memoryview]]:
        """The value's pickle, and the bytes that are not in it.

        Raises:
            TypeError: the value cannot cross.
        """


class Plain:
    """A codec for values of Python's own classes."""

    def dumped(self, value: Any) -> tuple[bytes, Sequence[memoryview]]:
        """The value's pickle."""
        return pickle.dumps(value), ()


PLAIN = Plain()


def frame(value: Any, codec: Codec) -> list[Buffer]:
    """The pieces to be sent, in order.

    Raises:
        TypeError: the value cannot cross.
    """
    pickled, beside = codec.dumped(value)
    lengths = struct.pack(f"={len(beside)}Q", *(piece.nbytes for piece in beside))
    at = len(lengths) + len(pickled)
    pieces: list[Buffer] = [b"", lengths, pickled]
    for piece in beside:
        gap = -at % _STEP
        pieces += (_ZEROS[:gap], piece)
        at += gap + piece.nbytes
    pieces[0] = _HEAD.pack(at, len(pickled), len(beside))
    return pieces if beside else [b"".join(pieces)]


class Frames(asyncio.BufferedProtocol):
    """Both directions of one connection.

    Args:
        received: Called with each value that comes, in order.
        lost: Called once, when the other side is gone.
    """

    def __init__(self, received: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self.codec: Codec = PLAIN
        """How values are sent."""
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._held = 0
        """Bytes in the scratch that belong to no whole frame yet."""
        self._body: bytearray | None = None
        """A frame that is larger than what has been read of it."""
        self._missing = memoryview(b"")
        self._shape = (0, 0)

    def send(self, value: Any) -> None:
        """Hand a value over; nothing happens where the other side is gone.

        Raises:
            TypeError: the value cannot cross.
        """
        pieces = frame(value, self.codec)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def close(self) -> None:
        """End the connection once what was sent is written."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        """The connection is there."""
        self._transport = transport

    def connection_lost(self, _fault: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._lost()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._missing if self._body is not None else self._scratch[self._held :]

    def buffer_updated(self, count: int) -> None:
        """So many bytes have come."""
        if self._body is not None:
            self._missing = self._missing[count:]
            if not self._missing:
                body, self._body = self._body, None
                self._take(body, *self._shape)
            return
        self._held += count
        self._parse()

    def _parse(self) -> None:
        at = 0
        while self._held - at >= _HEAD.size:
            length, pickled, beside = _HEAD.unpack_from(self._scratch, at)
            begin = at + _HEAD.size
            here = self._scratch[begin : min(self._held, begin + length)]
            at = begin + len(here)
            body = bytearray(length)
            body[: len(here)] = here
            if len(here) < length:
                self._body, self._shape = body, (pickled, beside)
                self._missing = memoryview(body)[len(here) :]
                break
            self._take(body, pickled, beside)
        rest = self._held - at
        if at and rest:
            self._scratch[:rest] = bytes(self._scratch[at : self._held])
        self._held = rest

    def _take(self, body: bytearray, pickled: int, beside: int) -> None:
        # Sent by the other end of a socket without a name: by our own child or parent.
        value, pieces = _parted(memoryview(body), pickled, beside)
        self._received(pickle.loads(value, buffers=pieces))  # noqa: S301  # see above


def _parted(body: memoryview, pickled: int, beside: int) -> tuple[memoryview, Sequence[memoryview]]:
    lengths = struct.unpack_from(f"={beside}Q", body)
    begin = 8 * beside
    at = begin + pickled
    pieces = []
    for length in lengths:
        at += -at % _STEP
        pieces.append(body[at : at + length])
        at += length
    return body[begin : begin + pickled], pieces
