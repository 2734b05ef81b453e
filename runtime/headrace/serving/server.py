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

from headrace.errors import ConfigurationError
from headrace.serving.execution.worker import Worker
from headrace.serving.front import Front
from headrace.serving.startup import Phases, Started, start
from headrace.serving.wire.limits import Limits
from headrace.serving.wire.listener import Listener

if TYPE_CHECKING:
    from headrace.serving.rpc import RpcServer
    from headrace.serving.settings import ServeSettings

_LOG = logging.getLogger("headrace.serving")
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
    listening = _listening(settings)
    runner = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  # not on every system

        runner = uvloop.run
    runner(_serve(settings, listening, phases))


async def _serve(settings: ServeSettings, listening: socket.socket, phases: Phases) -> None:
    began = time.monotonic()
    front = Front(settings.name)
    listener = Listener(listening, front, Limits(body=settings.max_request_bytes))
    stopping = _on_signals()
    await listener.open()
    address = f"http://{settings.host}:{listening.getsockname()[1]}"
    _LOG.info("listening on %s, loading %s", address, settings.target)
    started: Started | None = None
    rpc: RpcServer | None = None
    left = 0
    try:
        started = await _started(settings, phases, stopping)
        if started is not None:
            front.application = started.application
            rpc = await _rpc(settings, front)
            _LOG.info("model %s ready on %s after %.1f s", settings.name, address, time.monotonic() - began)
            await stopping.wait()
        left = await _drain(front, listener, rpc, settings.grace)
    finally:
        await listener.close()
        await _stop(started, running=left > 0)
    if left:
        _LOG.warning("%d requests were not answered within %g s", left, settings.grace)
    _LOG.info("model %s stopped", settings.name)


async def _rpc(settings: ServeSettings, front: Front) -> RpcServer | None:
    if settings.grpc_port is None:
        return None
    from headrace.serving.rpc import RpcServer  # noqa: PLC0415  # heavy

    rpc = RpcServer(front, settings.max_request_bytes)
    await rpc.open(settings.host, settings.grpc_port)
    _LOG.info("gRPC on %s:%d", settings.host, rpc.port)
    return rpc


async def _drain(front: Front, listener: Listener, rpc: RpcServer | None, grace: float) -> int:
    """Take no new work, and wait for what is in flight, HTTP and gRPC alike; returns how much was not answered."""
    listener.closing = True
    ending = asyncio.ensure_future(rpc.close(grace)) if rpc is not None else None
    left = await front.drain(grace)
    if ending is not None:
        await ending
    return left


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
    for hosted in started.models:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(hosted.stop(beside=running), _STOP)
    if started.provider is not None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(Worker("spans").submit(started.provider.shutdown), _STOP)


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def _listening(settings: ServeSettings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.http_port), backlog=2048)
    except OSError as fault:
        raise ConfigurationError(
            f"Port {settings.http_port} on {settings.host} cannot be opened: {fault.strerror or fault}",
            hint="choose another one with --http-port",
        ) from fault
