"""How a process comes to be, apart from what is done with it: started anew, or forked from a template."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from headrace.local.commands import Command

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))


class Child(Protocol):
    """A process in a session of its own, that ends when whoever made it does."""

    @property
    def pid(self) -> int:
        """Its number, also of its group and session."""
        ...

    @property
    def forked(self) -> bool:
        """Whether it is a fork of a process that had imported its code."""
        ...

    async def wait(self) -> int:
        """The exit code, negative for a signal, once it is gone; may be awaited again."""
        ...


class Origin(Protocol):
    """Makes processes."""

    async def start(self, command: Command, *, cwd: Path | None, output: int) -> Child:
        """A process that runs ``command`` with standard output and error on the descriptor ``output``, input empty.

        Raises:
            UnavailableError: none can be made; the message is the bare reason.
        """
        ...


class _Program:
    """A started program, as a :class:`Child`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def forked(self) -> bool:
        return False

    async def wait(self) -> int:
        return await self._process.wait()


class Started:
    """Processes started as programs; ``pass_fds`` are open in them under the same numbers."""

    def __init__(self, pass_fds: tuple[int, ...] = ()) -> None:
        self._pass_fds = pass_fds

    async def start(self, command: Command, *, cwd: Path | None, output: int) -> Child:
        """See :meth:`Origin.start`."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid())),
                *command.argv,
                cwd=cwd,
                env=dict(command.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=self._pass_fds,
                # Ctrl-C at the terminal is for the twin, which then ends its processes in their order.
                start_new_session=True,
            )
        except OSError as fault:
            raise UnavailableError(str(fault)) from fault
        return _Program(process)


STARTED = Started()
"""Nothing passed on."""


def terminate(child: Child) -> None:
    """SIGTERM it; one that is gone already is left alone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)
