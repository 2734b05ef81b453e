"""The serving process: opens its port, loads its model, answers, and leaves in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from headrace.errors import ConfigurationError
from headrace.serving.execution.worker import Worker
from headrace.serving.front import Front
from headrace.serving.startup import Phases, Started, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.serving.settings import ServeSettings

_LOG = logging.getLogger("headrace.serving")
_KEEP_ALIVE = 65
"""Seconds that an idle connection is kept: longer than clients and proxies keep theirs, so that they close first."""
_STOP = 10.0
"""Seconds that a model's ``stop`` and the last spans are given each."""


def run(settings: ServeSettings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight and return.

    The port is open before the model is imported: the process is alive at once, and ready when the model is.

    Raises:
        ConfigurationError: the port cannot be opened.
        ModelLoadError: the model does not load.
    """
    phases = Phases()
    listener = _listener(settings)
    runner = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  # not on every system

        runner = uvloop.run
    runner(_serve(settings, listener, phases))


async def _serve(settings: ServeSettings, listener: socket.socket, phases: Phases) -> None:
    began = time.monotonic()
    front = Front(settings.name, settings.max_request_bytes)
    server = _Server(_config(front))
    stopping = _on_signals()
    listening = asyncio.create_task(server.serve([listener]))
    address = f"http://{settings.host}:{listener.getsockname()[1]}"
    _LOG.info("listening on %s, loading %s", address, settings.target)
    started: Started | None = None
    left = 0
    try:
        started = await _started(settings, phases, stopping)
        if started is not None:
            front.application = started.application
            _LOG.info("model %s ready on %s after %.1f s", settings.name, address, time.monotonic() - began)
            await stopping.wait()
        left = await front.drain(settings.grace)
    finally:
        server.should_exit = True
        await listening
        await _stop(started, running=left > 0)
    if left:
        _LOG.warning("%d requests were not answered within %g s", left, settings.grace)
    _LOG.info("model %s stopped", settings.name)


async def _started(settings: ServeSettings, phases: Phases, stopping: asyncio.Event) -> Started | None:
    """What the start has brought up; None where the process is told to stop before."""
    loading = Worker("load").submit(partial(start, settings, asyncio.get_running_loop(), phases))
    told = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({loading, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not loading.done():
        loading.cancel()
        return None
    started: Started = loading.result()
    return started


async def _stop(started: Started | None, *, running: bool) -> None:
    if started is None:
        return
    # Under a model that still runs nothing is taken away: the process ends, and the model with it.
    for hosted in () if running else started.models:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(hosted.stop(), _STOP)
    if started.provider is not None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(Worker("spans").submit(started.provider.shutdown), _STOP)


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def _listener(settings: ServeSettings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.http_port), backlog=2048)
    except OSError as fault:
        raise ConfigurationError(
            f"Port {settings.http_port} on {settings.host} cannot be opened: {fault.strerror or fault}",
            hint="choose another one with --http-port",
        ) from fault


def _config(front: Front) -> uvicorn.Config:
    return uvicorn.Config(
        front,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )


class _Server(uvicorn.Server):
    """uvicorn, leaving signals to this module: it would close the port before readiness can say that it will."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
