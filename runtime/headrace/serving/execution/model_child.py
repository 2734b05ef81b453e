"""The process of one model: loads it, answers what its server asks, and ends with its server.

It is hosted as in the server itself, with a thread, a batcher and keyed state of its own; only the requests come over
a socket without a name, which nobody else can open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from prometheus_client import REGISTRY

from headrace.errors import HeadraceError
from headrace.serving.execution import orders, portable
from headrace.serving.execution.allocator import keep_memory
from headrace.serving.execution.frames import Frames
from headrace.serving.execution.worker import Worker
from headrace.serving.hosted import whole
from headrace.serving.metrics import taken
from headrace.telemetry import tracing
from headrace.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headrace.serving.execution.orders import Work
    from headrace.serving.hosting import HostedModel
    from headrace.serving.startup import StartedAlone

_LAST_WORD = 15
"""Seconds after its server's end in which a model that does not stop is ended by the kernel."""
_STOP = 10.0
_LOG = logging.getLogger("headrace.serving")


def main(descriptor: int) -> None:
    """Serve the socket until the other side says stop, or is gone.

    Signals are the server's matter: it lets requests end before it says stop.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    keep_memory()
    configure_logs()
    runner: Callable[[Any], Any] = asyncio.run
    try:
        import uvloop  # noqa: PLC0415  # not on every system

        runner = uvloop.run
    except ImportError:
        pass
    runner(_serve(socket.socket(fileno=descriptor)))


async def _serve(connection: socket.socket) -> None:
    child = _Child()
    connection.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: child.frames, sock=connection)
    await child.run()


class _Child:
    def __init__(self) -> None:
        self.frames = Frames(self._received, self._alone)
        self.frames.codec = portable
        self._work: asyncio.Future[Work] = asyncio.get_running_loop().create_future()
        self._stopping: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._hosted: HostedModel | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, AsyncIterator[Any]] = {}
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Load the model, and answer until told to stop."""
        try:
            started = await self._started(await self._work)
        except HeadraceError as fault:
            self._send(orders.STARTING, None, fault)
        else:
            self._hosted = started.hosted
            if started.meter is not None:
                started.meter.ready()
            hosted = self._hosted
            facts = orders.Facts(hosted.explains, hosted.metered, hosted.size, hosted.remembers)
            self.frames.send((orders.LOADED, facts))
            await self._stop(started, beside=await self._stopping)
        self.frames.close()
        await self._closed.wait()

    async def _started(self, work: Work) -> StartedAlone:
        from headrace.serving.startup import start_alone  # noqa: PLC0415  # heavy: the socket is served meanwhile

        worker = Worker("load")
        try:
            found: StartedAlone = await worker.submit(partial(start_alone, work, asyncio.get_running_loop()))
        finally:
            worker.close()
        return found

    async def _stop(self, started: StartedAlone, *, beside: bool) -> None:
        signal.alarm(_LAST_WORD)
        await started.hosted.stop(beside=beside)
        last = [started.meter.close] if started.meter is not None else []
        if started.provider is not None:
            last.append(started.provider.shutdown)
        if last:
            await asyncio.wait([Worker("end").submit(each) for each in last], timeout=_STOP)

    def _received(self, said: Any) -> None:
        if not isinstance(said, tuple):
            self._work.set_result(said)
            return
        kind, number = said[0], said[1]
        if kind == orders.CALL:
            self._tasks[number] = asyncio.ensure_future(self._answer(*said[1:]))
        elif kind == orders.STOP:
            self._told_to_stop(beside=number)
        elif (task := self._tasks.get(number)) is not None:
            task.cancel()
        elif (stream := self._streams.pop(number, None)) is not None and hasattr(stream, "aclose"):
            asyncio.ensure_future(stream.aclose())  # noqa: RUF006  # nobody waits for it

    def _alone(self) -> None:
        """The connection is closed; where the server is gone, nobody else would ever end this process."""
        self._closed.set()
        signal.alarm(_LAST_WORD)
        if self._hosted is None:
            os._exit(1)  # a model that is being loaded holds nothing yet, and its thread may never end
        self._told_to_stop(beside=bool(self._tasks))

    def _told_to_stop(self, *, beside: bool) -> None:
        if not self._stopping.done():
            self._stopping.set_result(beside)

    async def _answer(self, number: int, method: str, arguments: Any, carrier: dict[str, str] | None) -> None:
        if carrier:
            otel_context.attach(tracing.extract(carrier))
        try:
            answer = await self._called(number, method, arguments)
        except asyncio.CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001  # it is the caller's
            self._send(number, None, fault)
        else:
            self._send(number, answer, None)
        finally:
            del self._tasks[number]

    async def _called(self, number: int, method: str, arguments: Any) -> Any:
        if method == "next_part":
            return await self._part(*arguments)
        if method == "snapshot":
            return taken(REGISTRY)
        answer = await getattr(self._hosted, method)(*arguments)
        if isinstance(answer, list):
            return [await whole(outcome) for outcome in answer]
        if isinstance(answer, tuple) and hasattr(answer[0], "__aiter__"):
            self._streams[number] = aiter(answer[0])
            return orders.Streamed(number), answer[1]
        return answer

    async def _part(self, number: int) -> Any:
        try:
            return await anext(self._streams[number])
        except (KeyError, StopAsyncIteration):
            self._streams.pop(number, None)
            return orders.StreamEnd()

    def _send(self, number: int, answer: Any, fault: Exception | None) -> None:
        if fault is not None:
            self.frames.send((orders.FAULT, number, fault))
            return
        try:
            self.frames.send((orders.ANSWER, number, answer))
        except Exception as refused:  # noqa: BLE001  # pickle raises many kinds
            if isinstance(answer, list):
                self.frames.send((orders.ANSWER, number, [self._crossing(outcome) for outcome in answer]))
            else:
                self.frames.send((orders.FAULT, number, self._refusal(refused)))

    def _crossing(self, outcome: Any) -> Any:
        """The outcome, or why it cannot cross."""
        try:
            portable.dumped(outcome)
        except Exception as refused:  # noqa: BLE001  # pickle raises many kinds
            return self._refusal(refused)
        return outcome

    def _refusal(self, refused: Exception) -> HeadraceError:
        assert self._hosted is not None
        return HeadraceError(f"Model '{self._hosted.name}' answered what has no JSON form: {refused}")
