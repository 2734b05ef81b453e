"""Whether a process on a loopback port answers."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.local.probes import Probe

_FIRST_FAILURE = 400


class Readiness(Enum):
    """What one probe found."""

    CLOSED = "closed"
    """Nobody listens on the port."""
    LISTENING = "listening"
    """Somebody does, and is not ready."""
    READY = "ready"


def new_probing_session() -> aiohttp.ClientSession:
    """A client for probes: each has a connection of its own, which is closed behind it.

    A probe asks for that (``Connection: close``), and a server need not say in its answer that it will do so. A client
    that kept the connection would send the next request into a socket about to close.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))


async def ask(
    session: aiohttp.ClientSession,
    probe: Probe,
    port: int,
    run: Callable[[tuple[str, ...], float], Awaitable[bool]],
) -> Readiness:
    """One probe: a GET that must answer below 400, a TCP connection, or a command that must exit with 0.

    Args:
        session: For GETs.
        probe: What to ask.
        port: On this machine.
        run: Runs a command for so many seconds at most; whether it succeeded.
    """
    if probe.kind == "exec":
        return Readiness.READY if await run(probe.command, probe.timeout) else Readiness.LISTENING
    if probe.kind == "tcp":
        return await _connect(port, probe.timeout)
    try:
        async with session.get(
            f"http://127.0.0.1:{port}{probe.path}",
            timeout=aiohttp.ClientTimeout(total=probe.timeout),
            # A kept connection would say nothing about whether new ones are taken.
            headers={**probe.headers, "Connection": "close"},
            allow_redirects=False,
        ) as response:
            return Readiness.READY if response.status < _FIRST_FAILURE else Readiness.LISTENING
    except aiohttp.ClientConnectorError:
        return Readiness.CLOSED
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return Readiness.LISTENING


async def until_ready(
    probing: Callable[[], Awaitable[Readiness]], interval: float, listening: Callable[[], None] | None = None
) -> None:
    """Probe every ``interval`` seconds until ready; ``listening`` is called once somebody listens."""
    seen = False
    while (found := await probing()) is not Readiness.READY:
        if found is Readiness.LISTENING and not seen and listening:
            seen = True
            listening()
        await asyncio.sleep(interval)


async def _connect(port: int, seconds: float) -> Readiness:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), seconds)
    except (OSError, asyncio.TimeoutError):
        return Readiness.CLOSED
    writer.close()
    return Readiness.READY
