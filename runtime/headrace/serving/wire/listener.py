"""The open port: its connections, their clock, and how it closes without losing a request."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from headrace.serving.wire.connection import Connection
from headrace.serving.wire.response import Clock

if TYPE_CHECKING:
    from headrace.serving.wire.connection import Responder
    from headrace.serving.wire.limits import Limits

_TICK = 1.0
_CHECK = 5
"""Ticks between two looks at every connection."""
LINGER = 1.0
"""Seconds that connections are kept at the end, for requests that are on their way already."""
_ROUNDS = 8
"""Turns of the event loop in which it takes all connections that wait at the port."""
_ATTACH_FILTER = 26
"""``SO_ATTACH_FILTER`` of Linux; Python's socket module has no name for it."""
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A classic BPF program that accepts no packet: ``ret #0``."""


class Listener:
    """Takes connections from a socket.

    Args:
        listening: Bound and listening.
        responder: What answers.
        limits: Bounds of each connection.
    """

    def __init__(self, listening: socket.socket, responder: Responder, limits: Limits) -> None:
        self.limits = limits
        self.clock = Clock()
        self.connections: set[Connection] = set()
        self.closing = False
        self.now = time.monotonic()
        self._socket = listening
        self._responder = responder
        self._server: asyncio.AbstractServer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._empty = asyncio.Event()

    async def open(self) -> None:
        """Begin to take connections."""
        self._tick()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(partial(Connection, self, self._responder), sock=self._socket)

    def gone(self, connection: Connection) -> None:
        """This connection is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def close(self, linger: float = LINGER, *, shared: bool = False) -> None:
        """Take what waits at the port, answer what is on its way, then close everything.

        Args:
            linger: Seconds to wait for requests that are on their way.
            shared: Whether another process goes on to take connections at this port.
        """
        self.closing = True
        if not shared:
            with suppress(OSError):
                _shut_out(self._socket)
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        self._empty.clear()
        if self.connections:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._empty.wait(), linger)
        for connection in tuple(self.connections):
            connection.close()
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self.now = time.monotonic()
        self.clock.tick(time.time())
        self._ticks += 1
        if self._ticks % _CHECK == 0:
            for connection in tuple(self.connections):
                connection.check()
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)


def _shut_out(listening: socket.socket) -> None:
    """Let no new connection come to the port, and keep those that wait there (Linux).

    Closing a listening socket resets the connections that wait to be accepted: their clients may have sent a request
    already. With a filter that drops every packet for the listening socket the queue ends, so that all of it can be
    taken; a client that comes later tries again, and finds the port closed.

    Raises:
        OSError: another system.
    """
    program = ctypes.create_string_buffer(_DROP, len(_DROP))
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))
