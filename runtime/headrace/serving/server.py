"""The serving process: opens its port, loads its model, answers, and leaves in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from headrace.serving import ports
from headrace.serving.execution.allocator import keep_memory
from headrace.serving.execution.worker import Worker
from headrace.serving.front import Front
from headrace.serving.startup import Phases, Started, start
from headrace.serving.wire.limits import Limits
from headrace.serving.wire.listener import Listener
from headrace.serving.worker_link import link
from headrace.serving.workers import Workers, bounded

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headrace.serving.rpc import RpcServer
    from headrace.serving.settings import ServeSettings
    from headrace.serving.worker_link import Link

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
    keep_memory()
    phases = Phases()
    parent = link()
    if parent is None and settings.workers > 1 and (count := bounded(settings.workers)) > 1:
        _run(_parent(settings, count))
    else:
        _run(_serve(settings, parent, phases))


def _run(serving: Coroutine[Any, Any, None]) -> None:
    runner = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  # not on every system

        runner = uvloop.run
    runner(serving)


async def _parent(settings: ServeSettings, count: int) -> None:
    with ports.open_http(settings) as listening:
        await Workers(settings, count, listening).run()


async def _serve(settings: ServeSettings, parent: Link | None, phases: Phases) -> None:
    if parent is None:
        ports.check_grpc(settings)
    listening = ports.open_http(settings) if parent is None else parent.listening
    front = Front(settings.name)
    listener = Listener(listening, front, Limits(body=settings.max_request_bytes))
    stopping = _on_signals(asyncio.Event() if parent is None else parent.stopping)
    if parent is not None:
        front.held = True
        await parent.join()
    address = f"http://{settings.host}:{listening.getsockname()[1]}"
    if parent is None or not parent.late:
        await listener.open()
        _LOG.log(_level(parent), "listening on %s, loading %s", address, settings.target)
    left, rpc = 0, None
    started: Started | None = None
    try:
        started = await _started(settings, phases, stopping)
        if started is not None:
            front.application = started.application
            if parent is not None:
                parent.numbers, started.application.others = started.application.numbers, parent.others
            rpc = await _rpc(settings, front, parent)
            await _ready(listener, front, parent)
            taken = time.monotonic() - phases.clock
            _LOG.log(_level(parent), "model %s ready on %s after %.1f s", settings.name, address, taken)
            if started.meter is not None:
                started.meter.ready()
            await stopping.wait()
        left = await _drain(front, listener, rpc, settings.grace)
    finally:
        await listener.close(shared=parent is not None and not parent.stops_all)
        await _stop(started, running=left > 0)
    if left:
        _LOG.warning("%d requests were not answered within %g s", left, settings.grace)
    _LOG.log(_level(parent), "model %s stopped", settings.name)


async def _ready(listener: Listener, front: Front, parent: Link | None) -> None:
    """Be ready: at once, or as a worker when all are."""
    if parent is None:
        return
    if parent.late:
        await listener.open()

    async def release() -> None:
        await parent.go.wait()
        front.held = False

    parent.ready()
    front.released = asyncio.ensure_future(release())


def _level(parent: Link | None) -> int:
    """A worker leaves it to its parent to say what becomes of the server."""
    return logging.INFO if parent is None else logging.DEBUG


async def _rpc(settings: ServeSettings, front: Front, parent: Link | None) -> RpcServer | None:
    port = settings.grpc_port if parent is None else parent.grpc_port
    if port is None:
        return None
    from headrace.serving.rpc import RpcServer  # noqa: PLC0415  # heavy

    rpc = RpcServer(front, settings.max_request_bytes, shared=parent is not None)
    await rpc.open(settings.host, port)
    _LOG.log(_level(parent), "gRPC on %s:%d", settings.host, rpc.port)
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
    for hosted in tuple(started.application.models.values()):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(hosted.stop(beside=running), _STOP)
    if started.meter is not None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(Worker("usage-end").submit(started.meter.close), 2 * _STOP)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(Worker("metrics-end").submit(started.end_metrics), _STOP)
    if started.provider is not None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(Worker("spans").submit(started.provider.shutdown), _STOP)


def _on_signals(stopping: asyncio.Event) -> asyncio.Event:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping
