"""Several processes behind one port: each loads the models for itself and shares nothing but the sockets.

The parent opens the ports, starts the workers with its own command line, and says when all are ready and when to
stop. A worker that dies is replaced; the new one takes connections only once it is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError, HeadraceError
from headrace.predictors.cpu import cpu_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.serving.settings import ServeSettings

VARIABLE = "HEADRACE_WORKER"
"""Environment variable of a worker: the descriptors of its listening socket, of the pipe it is told by and of the one
it tells by, its gRPC port (empty for none), and whether it replaces another."""
GO, STOP, READY = b"g", b"s", b"r"
"""What is said through the pipes: all are ready; the whole server stops; this worker is ready."""
_PAUSE = 1.0
"""Seconds before a worker that died is replaced."""
_PATIENCE = 15.0
"""Seconds beyond the grace after which a worker that does not end is killed."""
_LOG = logging.getLogger("headrace.serving")


@dataclass(slots=True)
class Link:
    """What a worker has of its parent."""

    listening: socket.socket
    grpc_port: int | None
    late: bool
    """Whether the other workers serve already."""
    told: int
    """Descriptor that says when to go and when to stop."""
    tells: int
    stops_all: bool = False
    """Whether the whole server stops, so that nobody else takes what waits at the port."""

    def ready(self) -> None:
        """Tell the parent that this worker can answer."""
        with contextlib.suppress(OSError):
            os.write(self.tells, READY)

    def listen(self, go: asyncio.Event, stopping: asyncio.Event) -> None:
        """Set ``go`` when all workers are ready, and ``stopping`` when the parent stops or is gone."""

        def said() -> None:
            word = os.read(self.told, 1)
            if word == GO:
                go.set()
                return
            self.stops_all = True
            asyncio.get_running_loop().remove_reader(self.told)
            stopping.set()

        asyncio.get_running_loop().add_reader(self.told, said)


def link(environment: Mapping[str, str] = os.environ) -> Link | None:
    """The parent of this process; None where it is no worker."""
    text = environment.get(VARIABLE)
    if text is None:
        return None
    listening, told, tells, grpc_port, late = text.split(",")
    return Link(
        socket.socket(fileno=int(listening)),
        int(grpc_port) if grpc_port else None,
        late == "late",
        int(told),
        int(tells),
    )


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
    tells: int
    """Descriptor that it is told by."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Task[int] | None = None


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
        self._reserved = _reserved(settings)
        self._workers: set[_Worker] = set()
        self._stopping = asyncio.Event()

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
        told, tells = os.pipe()
        hears, says = os.pipe()
        port = "" if self._reserved is None else str(self._reserved.getsockname()[1])
        descriptors = (self._listening.fileno(), told, says)
        described = ",".join([*map(str, descriptors), port, "late" if late else ""])
        process = await asyncio.create_subprocess_exec(
            sys.executable, *sys.orig_argv[1:], pass_fds=descriptors, env={**os.environ, VARIABLE: described}
        )
        os.close(told)
        os.close(says)
        worker = _Worker(process, tells)
        worker.ended = asyncio.ensure_future(process.wait())
        self._hear(worker, hears)
        self._workers.add(worker)
        return worker

    def _hear(self, worker: _Worker, hears: int) -> None:
        loop = asyncio.get_running_loop()

        def said() -> None:
            if os.read(hears, 1) == READY:
                worker.ready.set()
            else:
                loop.remove_reader(hears)
                os.close(hears)

        loop.add_reader(hears, said)

    async def _all_ready(self) -> bool:
        """Whether all got ready; not where the server is told to stop before."""
        ready = asyncio.ensure_future(asyncio.wait([asyncio.ensure_future(w.ready.wait()) for w in self._workers]))
        stopping = asyncio.ensure_future(self._stopping.wait())
        ended = [worker.ended for worker in self._workers if worker.ended is not None]
        await asyncio.wait({ready, stopping, *ended}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ready.done():
            ready.cancel()
            if not self._stopping.is_set():
                raise WorkerFailedError("A worker ended before it was ready")
            return False
        for worker in self._workers:
            _say(worker, GO)
        return True

    async def _watch(self) -> None:
        """Replace workers that die, until the server is told to stop."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        while not self._stopping.is_set():
            ended = {worker.ended: worker for worker in self._workers if worker.ended is not None}
            done, _ = await asyncio.wait({stopping, *ended}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                worker = ended[task]
                _LOG.error("worker %d ended with %d; another takes its place", worker.process.pid, task.result())
                self._workers.discard(worker)
                os.close(worker.tells)
                await asyncio.wait({stopping}, timeout=_PAUSE)
                if not self._stopping.is_set():
                    _say(await self._start(late=True), GO)
        stopping.cancel()

    async def _end(self) -> None:
        for worker in self._workers:
            _say(worker, STOP)
        ended = [worker.ended for worker in self._workers if worker.ended is not None]
        if ended:
            _, left = await asyncio.wait(ended, timeout=self._settings.grace + _PATIENCE)
            for worker in self._workers:
                if worker.ended in left:
                    worker.process.kill()
                os.close(worker.tells)
            await asyncio.gather(*ended)


class WorkerFailedError(HeadraceError):
    """A worker ended before it was ready; its own last line says why."""

    code = "worker-failed"


def _say(worker: _Worker, word: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(worker.tells, word)


def _reserved(settings: ServeSettings) -> socket.socket | None:
    """The gRPC port, bound and never listened on, so that the workers can share it and nobody else takes it."""
    if settings.grpc_port is None:
        return None
    try:
        with socket.create_server((settings.host, settings.grpc_port)) as free:
            port = free.getsockname()[1]
        reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((settings.host, port))
    except OSError as fault:
        raise ConfigurationError(
            f"Port {settings.grpc_port} on {settings.host} cannot be opened for gRPC: {fault.strerror or fault}",
            hint="choose another one with --grpc-port",
        ) from fault
    _LOG.info("gRPC on %s:%d", settings.host, port)
    return reserved
