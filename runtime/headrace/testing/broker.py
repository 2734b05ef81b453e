"""An embedded Kafka broker for tests: in a thread of this process, or in a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace.errors import UnavailableError
from headrace.local.broker import BrokerSettings, EmbeddedBroker
from headrace.local.broker.server import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

START_TIMEOUT = 30.0
"""Seconds that a broker may take to start before a test fails."""
_PROGRAM = """
import json, pathlib, sys
from headrace.local.broker import BrokerSettings, run
settings = BrokerSettings.from_json(json.load(sys.stdin))
run(
    pathlib.Path(sys.argv[1]),
    port=int(sys.argv[2]),
    on_ready=lambda broker: print(broker.port, flush=True),
    settings=settings,
)
"""


@contextmanager
def running_broker(data: Path, settings: BrokerSettings | None = None, *, port: int = 0) -> Iterator[str]:
    """Run a broker in a background thread with an event loop of its own.

    Args:
        data: Folder of its logs, ``tmp_path`` in a pytest test.
        settings: Limits and habits.
        port: 0 takes a free one.

    Yields:
        The bootstrap address, ``127.0.0.1:PORT``.

    Raises:
        ConfigurationError: as :meth:`EmbeddedBroker.start`.
    """
    loop = new_event_loop()
    broker = EmbeddedBroker(data, port=port, settings=settings)
    thread = threading.Thread(target=loop.run_forever, name="embedded-broker", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(broker.start(), loop).result(START_TIMEOUT)
        yield broker.bootstrap
    finally:
        asyncio.run_coroutine_threadsafe(broker.stop(), loop).result(START_TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class BrokerProcess:
    """A broker in a process of its own, for tests that kill it; a context manager.

    Args:
        data: Folder of its logs.
        settings: Limits and habits.
        port: 0 takes a free one, and keeps it over restarts.
    """

    def __init__(self, data: Path, settings: BrokerSettings | None = None, *, port: int = 0) -> None:
        self._data = data
        self._settings = settings or BrokerSettings()
        self._port = port
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """The address for clients, the same after a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            UnavailableError: it does not run.
        """
        if self._process is None:
            raise UnavailableError("The broker process does not run", hint="call start() first")
        return self._process.pid

    def start(self) -> None:
        """Start it; clients are served when this returns.

        Raises:
            UnavailableError: it ended at once; its own message is on the standard error stream.
        """
        command = [sys.executable, "-c", _PROGRAM, str(self._data), str(self._port)]
        self._process = process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        # Arguments can be seen by everyone on the machine; the settings hold passwords.
        with process.stdin as stream:
            json.dump(self._settings.as_json(), stream)
        line = process.stdout.readline()
        if not line:
            self.kill()
            raise UnavailableError(f"The broker on {self._data} did not start", hint="see its message above")
        self._port = int(line)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            _reap(process)

    def stop(self) -> None:
        """End it with SIGTERM and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            _reap(process)

    def restart(self) -> None:
        """Start it anew on the same port, after :meth:`kill` or in the place of the one that runs."""
        self.stop()
        self.start()


def _reap(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(START_TIMEOUT)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


__all__ = ["BrokerProcess", "BrokerSettings", "running_broker"]
