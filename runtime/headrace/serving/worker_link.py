"""What a worker of a server has of the parent that started it, and says to it.

worker to parent    (READY,) | (ASK, number, own numbers) | (NUMBERS, number, own numbers)
parent to worker    (GO,) | (STOP,) | (TELL, number) | (OTHERS, number, numbers)
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.errors import UnavailableError
from headrace.serving.execution.frames import Frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headrace.serving.gathering import Snapshot

VARIABLE = "HEADRACE_WORKER"
"""Environment variable of a worker: the descriptors of its listening socket and of the socket to its parent, its gRPC
port (empty for none), and whether it replaces another."""
READY, ASK, NUMBERS = "ready", "ask", "numbers"
GO, STOP, TELL, OTHERS = "go", "stop", "tell", "others"
_PATIENCE = 5.0
"""Seconds in which the parent has asked all the others."""


@dataclass(slots=True)
class Link:
    """A worker's side."""

    listening: socket.socket
    connection: socket.socket
    """To the parent."""
    grpc_port: int | None
    late: bool
    """Whether the other workers serve already."""
    numbers: Callable[[], Awaitable[Snapshot]] | None = None
    """What this worker has counted; None before it is loaded."""
    go: asyncio.Event = field(default_factory=asyncio.Event)
    """All workers are ready."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """The parent says stop, or is gone."""
    stops_all: bool = False
    """Whether the whole server stops, so that nobody else takes what waits at the port."""
    _asked: dict[int, asyncio.Future[Snapshot]] = field(default_factory=dict)
    _counter: itertools.count[int] = field(default_factory=itertools.count)
    _frames: Frames | None = None

    async def join(self) -> None:
        """Begin to listen to the parent."""
        self._frames = Frames(self._received, self._alone)
        self.connection.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self._sending, sock=self.connection)

    def ready(self) -> None:
        """Tell the parent that this worker can answer."""
        self._sending.send((READY,))

    async def others(self) -> Snapshot:
        """What all the other workers have counted, those that are gone as well.

        Raises:
            UnavailableError: the parent does not say.
        """
        number = next(self._counter)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._sending.send((ASK, number, await self._own()))
            return await asyncio.wait_for(future, _PATIENCE)
        except asyncio.TimeoutError:
            # Without them the sums would fall, and what they were would be counted twice when they are back.
            raise UnavailableError("The parent of the workers does not tell their numbers") from None
        finally:
            del self._asked[number]

    @property
    def _sending(self) -> Frames:
        assert self._frames is not None
        return self._frames

    def _received(self, said: Any) -> None:
        if said[0] == GO:
            self.go.set()
        elif said[0] == STOP:
            self._alone()
        elif said[0] == TELL:
            asyncio.ensure_future(self._tell(said[1]))  # noqa: RUF006  # the parent waits for it
        elif (future := self._asked.get(said[1])) is not None and not future.done():
            future.set_result(said[2])

    async def _tell(self, number: int) -> None:
        self._sending.send((NUMBERS, number, await self._own()))

    async def _own(self) -> Snapshot:
        return () if self.numbers is None else await self.numbers()

    def _alone(self) -> None:
        self.stops_all = True
        self.stopping.set()


def link(environment: Mapping[str, str] = os.environ) -> Link | None:
    """The parent of this process; None where it is no worker."""
    text = environment.get(VARIABLE)
    if text is None:
        return None
    listening, connection, grpc_port, late = text.split(",")
    return Link(
        socket.socket(fileno=int(listening)),
        socket.socket(fileno=int(connection)),
        int(grpc_port) if grpc_port else None,
        late == "late",
    )
