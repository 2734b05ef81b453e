"""The embedded Kafka broker as a child of the twin, restarted on its port when it dies."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from typing import TYPE_CHECKING

from headrace.errors import UnavailableError
from headrace.local.commands import Command
from headrace.local.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from headrace.local.logs import LogFile
    from headrace.local.settings import TwinSettings
    from headrace.local.status import TwinEvent

SUBJECT = "kafka"
_READY = re.compile(r"Kafka on (\S+:\d+), data in ")
_CLIENTS_LEAVE = 10.0
"""Seconds that the broker has to close its log."""


class KafkaProcess:
    """``headrace broker`` as a child.

    Args:
        data: Folder of its log.
        environment: What it inherits.
        log: Where its lines go.
        settings: Its port and how long it may take.
        on_event: Is told of every start and end.
    """

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str],
        *,
        log: LogFile,
        settings: TwinSettings,
        on_event: Callable[[TwinEvent], None],
    ) -> None:
        self._settings = settings
        port = usable_port(settings.kafka_port)
        argv = (sys.executable, "-m", "headrace.cli.main", "broker", "--port", str(port), "--data", str(data))
        self.address = f"127.0.0.1:{port}"
        """``host:port``."""
        self._log = log
        self._ready = asyncio.Event()
        self._died: list[str] = []
        self._report = on_event
        self._supervisor = Supervisor(
            SUBJECT,
            lambda: Command(argv, environment),
            cwd=None,
            log=log,
            grace=_CLIENTS_LEAVE,
            settings=settings,
            on_event=self._notice,
            heard=self._hear,
        )

    async def start(self) -> None:
        """Start it and wait for its ready line.

        Raises:
            UnavailableError: it ended before, or was not ready in time.
        """
        self._supervisor.start()
        try:
            await asyncio.wait_for(self._ready.wait(), self._settings.kafka_ready)
        except asyncio.TimeoutError as fault:
            self._died.append(f"was not ready within {self._settings.kafka_ready:g} s")
            raise UnavailableError(
                f"The embedded Kafka broker {self._died[0]}", hint=f"its log is {self._log.path}"
            ) from fault
        if self._died:
            raise UnavailableError(f"The embedded Kafka broker {self._died[0]}", hint=f"its log is {self._log.path}")

    async def stop(self) -> None:
        """End it."""
        await self._supervisor.stop()

    def _hear(self, line: str) -> None:
        if _READY.search(line):
            self._ready.set()

    def _notice(self, event: TwinEvent) -> None:
        if event.kind == "died" and not self._ready.is_set():
            self._died.append(event.detail)
            self._ready.set()
        self._report(event)


def usable_port(wanted: int) -> int:
    """``wanted`` where nobody has it on the loopback address, else a free one."""
    for port in (wanted, 0):
        with socket.socket() as candidate:
            # As the broker will: connections of a former one that linger do not count.
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = candidate.getsockname()[1]
            return found
    raise UnavailableError("This machine has no free loopback port")
