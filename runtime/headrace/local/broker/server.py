"""The embedded broker: opens the data, listens, serves."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import resource
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.local.broker.checksum import require_checksum
from headrace.local.broker.codes import Refusal
from headrace.local.broker.connection import Connection
from headrace.local.broker.core import Address, Core
from headrace.local.broker.disk import FolderLock
from headrace.local.broker.settings import BrokerSettings
from headrace.local.broker.tls import server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from headrace.local.broker.topics import Topic

PATIENCE = 1.0
"""Seconds that a stopping broker gives its clients to take their last answers."""


def _go_on(_step: str) -> None:
    """The checkpoint of everyday: nothing."""


class EmbeddedBroker:
    """A Kafka broker for one machine, in this process.

    One node, loopback only, no replication. What was acknowledged survives the end of the process, SIGKILL as well; a
    power cut may lose the last seconds unless ``settings.sync_every`` says otherwise.

    Args:
        data: Folder of the logs; made where it is missing, and locked.
        host: A loopback address.
        port: 0 takes a free one.
        settings: Limits and habits.
        checkpoint: Called with the name of each step while a transaction ends; tests end the process there.
    """

    def __init__(
        self,
        data: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: BrokerSettings | None = None,
        checkpoint: Callable[[str], None] = _go_on,
    ) -> None:
        self._data = data
        # The name has two addresses on many machines, and a free port of the one may be taken on the other.
        self._host = "127.0.0.1" if host == "localhost" else host
        self._port = port
        self._settings = settings or BrokerSettings()
        self._checkpoint = checkpoint
        self._lock = FolderLock(data)
        self._core: Core | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    @property
    def port(self) -> int:
        """The port that it listens on; the one asked for before the start."""
        return self._port

    @property
    def bootstrap(self) -> str:
        """The address for clients, ``host:port``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Every topic; none of a broker that does not run."""
        return tuple(self._core.catalogue) if self._core is not None else ()

    @property
    def connected(self) -> int:
        """How many connections clients have."""
        return len(self._connections)

    async def start(self) -> None:
        """Recover the data and listen; clients are served when this returns.

        Raises:
            ConfigurationError: the host is not loopback, the port is in use, another broker holds the data, the
                data cannot be read or written, the TLS files cannot be used, or ``crc32c`` is missing.
        """
        require_checksum()
        _require_loopback(self._host)
        tls = server_context(self._settings.tls) if self._settings.tls is not None else None
        self._lock.acquire()
        try:
            self._core = core = self._open()
            core.transactions.recover()
            core.upkeep.start()
            self._server = await self._listen(core, tls)
            core.address = Address(self._host, self._port)
            await self._server.start_serving()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every connection and file; may be called again."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await asyncio.gather(*(one.finish(PATIENCE) for one in tuple(self._connections)))
        if server is not None:
            # Before Python 3.12.1 this never waits, since then for clients in the middle of a TLS handshake as well.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.wait_closed(), PATIENCE)
        core, self._core = self._core, None
        if core is not None:
            await core.stop()
        self._lock.release()

    def _open(self) -> Core:
        try:
            return Core(self._data, self._settings, self._checkpoint)
        except (OSError, Refusal) as fault:
            raise ConfigurationError(
                f"The broker's data folder {self._data} cannot be used: {fault}",
                hint="make room there, or name another folder with --data",
            ) from fault

    async def _listen(self, core: Core, tls: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: Connection(core, self._connections), self._host, self._port, ssl=tls, start_serving=False
            )
        except OSError as fault:
            if fault.errno == errno.EADDRINUSE:
                raise ConfigurationError(
                    f"Port {self._port} on {self._host} is in use",
                    hint="stop what listens there, or choose another with --port (0 takes a free one)",
                ) from fault
            raise ConfigurationError(
                f"Cannot listen on {self._host}:{self._port}: {fault.strerror}", hint="choose another --port"
            ) from fault
        self._port = server.sockets[0].getsockname()[1]
        return server


def run(
    data: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[EmbeddedBroker], None] | None = None,
    settings: BrokerSettings | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        data: Folder of the logs.
        host: A loopback address.
        port: 0 takes a free one.
        on_ready: Called with the broker when clients are served.
        settings: Limits and habits.

    Raises:
        ConfigurationError: as :meth:`EmbeddedBroker.start`.
    """
    _raise_file_limit()
    loop = new_event_loop()
    try:
        loop.run_until_complete(_serve(EmbeddedBroker(data, host=host, port=port, settings=settings), on_ready))
    finally:
        loop.close()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop, uvloop's where that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _serve(broker: EmbeddedBroker, on_ready: Callable[[EmbeddedBroker], None] | None) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await broker.start()
    try:
        if on_ready is not None:
            on_ready(broker)
        await ended.wait()
    finally:
        await broker.stop()


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us: every partition is one, every client another."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _require_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigurationError(
            f"The embedded broker listens on loopback addresses only, not on {host!r}",
            hint="use 127.0.0.1; for a network, run Apache Kafka",
        )
