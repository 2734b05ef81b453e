"""One process of the twin: started in a session of its own, watched, ended with everything it started.

A process never outlives the twin: it is ended at stop, and on Linux the system ends it when the twin is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from headrace.errors import UnavailableError
from headrace.local.children import Started, terminate
from headrace.local.logs import LineReader
from headrace.local.memory import limit_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from headrace.local.children import Child, Origin
    from headrace.local.commands import Command
    from headrace.local.logs import LogFile

_STARTED = Started()
_LAST_WORDS = 2.0
"""Seconds to read what a dead process wrote: something that left its group may hold the pipe open."""


class Process:
    """A running process; made by :meth:`start`."""

    def __init__(self, name: str, child: Child, output: LineReader, pipe: int) -> None:
        self.name = name
        self._child = child
        self._output = output
        self._ending = asyncio.ensure_future(self._end(pipe))

    @classmethod
    async def start(
        cls,
        name: str,
        command: Command,
        *,
        cwd: Path | None,
        log: LogFile,
        heard: Callable[[str], None] | None = None,
        origin: Origin = _STARTED,
    ) -> Process:
        """Start ``command``; its standard output and error go to ``log`` (and ``heard``), its standard input is empty.

        Raises:
            UnavailableError: the system starts no process (no memory, no such folder).
        """
        # Not asyncio's PIPE: with that, some Pythons see the process end only when the pipe does, and something
        # that it left behind may hold the pipe.
        reading, writing = os.pipe()
        try:
            child = await origin.start(command, cwd=cwd, output=writing)
        except BaseException as fault:
            os.close(reading)
            if isinstance(fault, UnavailableError):
                raise UnavailableError(f"Cannot start {name}: {fault}") from fault
            raise
        finally:
            os.close(writing)
        limit_memory(child.pid, command.memory)
        return cls(name, child, LineReader(name, log, heard), reading)

    @property
    def pid(self) -> int:
        """Its number, also of its group and session."""
        return self._child.pid

    @property
    def forked(self) -> bool:
        """Whether it is a fork of a process that had imported its code."""
        return self._child.forked

    @property
    def ended(self) -> bool:
        """Whether it is gone and its last line read."""
        return self._ending.done()

    @property
    def last_line(self) -> str:
        """The last line that it wrote."""
        return self._output.last_line

    async def wait(self) -> int:
        """The exit code, negative for a signal, once it is gone and its last line read."""
        return await asyncio.shield(self._ending)

    async def stop(self, grace: float) -> int:
        """SIGTERM, and SIGKILL after ``grace`` seconds; the exit code."""
        if not self.ended:
            terminate(self._child)
            try:
                await asyncio.wait_for(self.wait(), grace)
            except asyncio.TimeoutError:
                self.kill()
        return await self.wait()

    def kill(self) -> None:
        """SIGKILL it and everything it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    async def _end(self, pipe: int) -> int:
        reading = asyncio.ensure_future(self._output.read(pipe))
        try:
            code = await self._child.wait()
            # What it started and left behind goes with it, as with the container.
            self.kill()
            await asyncio.wait([reading], timeout=_LAST_WORDS)
            return code
        finally:
            reading.cancel()


def free_ports(wanted: frozenset[int]) -> Mapping[int, int]:
    """A free loopback port for each of these; another process may still take one before it is bound."""
    with contextlib.ExitStack() as stack:
        found = {}
        for port in sorted(wanted):
            reserved = stack.enter_context(socket.socket())
            reserved.bind(("127.0.0.1", 0))
            found[port] = reserved.getsockname()[1]
        return found


def exit_reason(code: int, last_line: str) -> str:
    """How a process ended, in a person's words, with its last line."""
    try:
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
    except ValueError:
        how = f"ended by signal {-code}"
    return f"{how}: {last_line}" if last_line else how
