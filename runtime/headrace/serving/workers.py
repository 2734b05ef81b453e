"""Several processes behind one port: each loads the models for itself and shares nothing but the sockets.

The parent opens the ports, starts the workers with its own command line, and says when all are ready and when to
stop. A worker that dies is replaced; the new one takes connections only once it is loaded.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError
from headrace.predictors.cpu import cpu_limit
from headrace.serving import ports
from headrace.serving.execution.frames import Frames
from headrace.serving.gathering import Gathered
from headrace.serving.worker_link import GO, NUMBERS, OTHERS, READY, STOP, TELL, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.serving.gathering import Snapshot
    from headrace.serving.settings import ServeSettings

_PAUSE = 1.0
"""Seconds before a worker that died is replaced."""
_PATIENCE = 15.0
"""Seconds beyond the grace after which a worker that does not end is killed."""
_ANSWERS = 1.0
"""Seconds in which a worker tells its numbers."""
_LOG = logging.getLogger("headrace.serving")


def bounded(workers: int) -> int:
    """At most one worker a CPU.

    KServe's controller gives a transformer its ``containerConcurrency`` as the number of workers: 80 processes of a
    server that answers 80 requests at once by itself would only take each other's memory.
    """
    most = cpu_limit()
    if workers > most:
        _LOG.warning("--workers %d: %d are started, one a CPU; each answers many requests at once", workers, most)
    return min(workers, most)


def sharing(settings: ServeSettings, environment: Mapping[str, str] = os.environ) -> int:
    """How many processes share this one's replica, itself included."""
    return min(settings.workers, cpu_limit()) if VARIABLE in environment else 1


@dataclass(slots=True, eq=False)
class _Worker:
    process: asyncio.subprocess.Process
    ended: asyncio.Task[int]
    frames: Frames
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    asked: dict[int, asyncio.Future[Snapshot]] = field(default_factory=dict)
    """Who waits for its numbers."""


class Workers:
    """The parent of the workers.

    Args:
        settings: Those of the server.
        count: How many workers.
        listening: The open HTTP port.
    """

    def __init__(self, settings: ServeSettings, count: int, listening: socket.socket) -> None:
        self._settings = settings
        self._count = count
        self._listening = listening
        self._reserved = ports.reserve_grpc(settings)
        self._workers: set[_Worker] = set()
        self._stopping = asyncio.Event()
        self._numbers = Gathered()
        self._questions = itertools.count()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then let every worker finish what it has and return.

        Raises:
            HeadraceError: a worker ended before it was ready; it has said why.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        address = f"http://{self._settings.host}:{self._listening.getsockname()[1]}"
        _LOG.info("listening on %s, loading %s in %d workers", address, self._settings.target, self._count)
        if self._reserved is not None:
            _LOG.info("gRPC on %s:%d", self._settings.host, self._reserved.getsockname()[1])
        try:
            for _ in range(self._count):
                await self._start(late=False)
            if await self._all_ready():
                _LOG.info("model %s ready on %s", self._settings.name, address)
                await self._watch()
        finally:
            await self._end()
        _LOG.info("model %s stopped", self._settings.name)

    async def _start(self, *, late: bool) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            port = "" if self._reserved is None else str(self._reserved.getsockname()[1])
            descriptors = (self._listening.fileno(), theirs.fileno())
            described = ",".join([*map(str, descriptors), port, "late" if late else ""])
            process = await asyncio.create_subprocess_exec(
                sys.executable, *sys.orig_argv[1:], pass_fds=descriptors, env={**os.environ, VARIABLE: described}
            )
        ours.setblocking(False)
        # A worker that lets go of its parent ends, which is seen elsewhere.
        frames = Frames(lambda said: self._hear(worker, said), lambda: None)
        worker = _Worker(process, asyncio.ensure_future(process.wait()), frames)
        await asyncio.get_running_loop().create_unix_connection(lambda: frames, sock=ours)
        self._workers.add(worker)
        return worker

    def _hear(self, worker: _Worker, said: Any) -> None:
        if said[0] == READY:
            worker.ready.set()
        elif said[0] == NUMBERS:
            future = worker.asked.pop(said[1], None)
            if future is not None and not future.done():
                future.set_result(said[2])
        else:
            self._numbers.put(worker.process.pid, said[2])
            asyncio.ensure_future(self._tell(worker, said[1]))  # noqa: RUF006  # the worker waits for it

    async def _tell(self, worker: _Worker, number: int) -> None:
        """Answer a worker that asks for the numbers of the others."""
        others = [other for other in self._workers if other is not worker and other.ready.is_set()]
        await asyncio.gather(*map(self._ask, others))
        worker.frames.send((OTHERS, number, self._numbers.total(without=worker.process.pid)))

    async def _ask(self, worker: _Worker) -> None:
        """Look at a worker's numbers; one that does not answer has those that it had last."""
        number = next(self._questions)
        future = worker.asked[number] = asyncio.get_running_loop().create_future()
        worker.frames.send((TELL, number))
        await asyncio.wait({future, worker.ended}, timeout=_ANSWERS, return_when=asyncio.FIRST_COMPLETED)
        worker.asked.pop(number, None)
        if future.done():
            self._numbers.put(worker.process.pid, future.result())

    async def _all_ready(self) -> bool:
        """Whether all got ready; not where the server is told to stop before."""
        ready = asyncio.ensure_future(asyncio.wait([asyncio.ensure_future(w.ready.wait()) for w in self._workers]))
        stopping = asyncio.ensure_future(self._stopping.wait())
        ended = [worker.ended for worker in self._workers]
        await asyncio.wait({ready, stopping, *ended}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ready.done():
            ready.cancel()
            if not self._stopping.is_set():
                raise WorkerFailedError("A worker ended before it was ready")
            return False
        for worker in self._workers:
            worker.frames.send((GO,))
        return True

    async def _watch(self) -> None:
        """Replace workers that die, until the server is told to stop."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        while not self._stopping.is_set():
            ended = {worker.ended: worker for worker in self._workers}
            done, _ = await asyncio.wait({stopping, *ended}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                worker = ended[task]
                _LOG.error("worker %d ended with %d; another takes its place", worker.process.pid, task.result())
                self._workers.discard(worker)
                self._numbers.gone(worker.process.pid)
                worker.frames.close()
                await asyncio.wait({stopping}, timeout=_PAUSE)
                if not self._stopping.is_set():
                    (await self._start(late=True)).frames.send((GO,))
        stopping.cancel()

    async def _end(self) -> None:
        for worker in self._workers:
            worker.frames.send((STOP,))
        ended = [worker.ended for worker in self._workers]
        if ended:
            _, left = await asyncio.wait(ended, timeout=self._settings.grace + _PATIENCE)
            for worker in self._workers:
                if worker.ended in left:
                    worker.process.kill()
                worker.frames.close()
            await asyncio.gather(*ended)


class WorkerFailedError(HeadraceError):
    """A worker ended before it was ready; its own last line says why."""

    code = "worker-failed"
