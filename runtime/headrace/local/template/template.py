"""The twin's end of a template: keeps its process, asks it for forks, and starts programs where it gives none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from headrace.errors import UnavailableError
from headrace.local.children import Started
from headrace.local.commands import Command
from headrace.local.processes import Process
from headrace.local.template.wire import LARGEST, Ended, Fork, Forked, Imported, Refused, decoded, encoded, pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.local.children import Child, Origin
    from headrace.local.logs import LogFile

_SERVE = ("-m", "headrace.cli.main", "serve")
_GRACE = 2.0
"""Seconds that a template may take to end; its forks are gone by then."""
_PROGRAM = "headrace.local.template.program"


def may_fork(argv: tuple[str, ...]) -> bool:
    """Whether a template can stand for this command: ``headrace serve`` in the twin's own Python, on Linux."""
    return sys.platform == "linux" and argv[:1] == (sys.executable,) and argv[1:4] == _SERVE


def classes_of(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The ``MODULE:CLASS`` that a ``headrace serve`` imports itself: none where models have processes of their own."""
    if "process" in _values(argv, "--execution"):
        return ()
    # NAME=MODULE:CLASS[@URI]
    further = (value.partition("=")[2].partition("@")[0] for value in _values(argv, "--also"))
    return (*_values(argv, "--class"), *further)


def _values(argv: tuple[str, ...], flag: str) -> list[str]:
    """Each value of a flag, written as ``--flag value`` or ``--flag=value``."""
    apart = [value for word, value in pairwise(argv) if word == flag]
    return apart + [word.partition("=")[2] for word in argv if word.startswith(f"{flag}=")]


class _Fork:
    """A fork, as a :class:`~headrace.local.children.Child`; the template tells of its end, or its pidfd does."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The exit code, once it is gone."""

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def forked(self) -> bool:
        return True

    async def wait(self) -> int:
        return await asyncio.shield(self.code)

    def ended(self, code: int) -> None:
        if not self.code.done():
            self.code.set_result(code)

    def watch(self) -> None:
        """The template is gone, and told it to end: nobody but the kernel says when it has."""
        try:
            descriptor = os.pidfd_open(self._pid)
        except ProcessLookupError:
            self.ended(-signal.SIGTERM)
            return
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self.ended(-signal.SIGTERM)

        loop.add_reader(descriptor, gone)


class Template:
    """An :class:`~headrace.local.children.Origin` that forks a process which has imported the code.

    Where it cannot (the code does not import, starts threads or touches CUDA; the process died), it starts programs,
    and says why once.

    Args:
        name: What it is called in the log.
        command: The ``headrace serve`` that its forks run; its environment is the template's.
        cwd: Working folder.
        log: Where its lines go.
        note: Told, in one line, why it does not fork.
        preloading: The module whose ``preload`` imports what serving the command's classes needs.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        cwd: Path | None,
        log: LogFile,
        note: Callable[[str], None],
        preloading: str = "headrace.serving.preload",
    ) -> None:
        self.forks = 0
        """How many it has made."""
        self._name = name
        self._command = command
        self._cwd = cwd
        self._log = log
        self._note = note
        self._preloading = preloading
        self._started: Origin = Started()
        self._process: Process | None = None
        self._socket: socket.socket | None = None
        self._usable: asyncio.Future[bool] | None = None
        self._asked: dict[int, asyncio.Future[_Fork]] = {}
        self._running: dict[int, _Fork] = {}
        self._next = 0
        self._closed = False
        self._reopening: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int:
        """The number of the template's process; 0 while it has none."""
        return self._process.pid if self._process and not self._process.ended else 0

    async def open(self) -> None:
        """Start the template's process; what it imports, it imports meanwhile."""
        self._usable = asyncio.get_running_loop().create_future()
        ours, its = pair()
        what = (self._preloading, self._command.argv[2], *classes_of(self._command.argv))
        argv = (sys.executable, "-m", _PROGRAM, str(its.fileno()), *what)
        try:
            self._process = await Process.start(
                self._name,
                Command(argv, self._command.environment),
                cwd=self._cwd,
                log=self._log,
                origin=Started(pass_fds=(its.fileno(),)),
            )
        except UnavailableError as fault:
            ours.close()
            self._give_up(str(fault))
            return
        finally:
            its.close()
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._heard)

    async def close(self) -> None:
        """End it; forks that still run are told to."""
        self._closed = True
        self._shut()
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait([self._reopening])
        if self._usable is not None and not self._usable.done():
            self._usable.set_result(False)
        if self._process is not None:
            await self._process.stop(_GRACE)

    async def retire(self) -> None:
        """Close it once its last fork is gone, or at once when cancelled."""
        try:
            while self._running:
                await asyncio.wait([fork.code for fork in self._running.values()])
        finally:
            await self.close()

    async def imported(self) -> bool:
        """Wait until it has imported the code; False where it never will fork."""
        return self._usable is not None and await asyncio.shield(self._usable)

    async def start(self, command: Command, *, cwd: Path | None, output: int) -> Child:
        """A fork, once the template has imported; a program where it gives none. See :meth:`Origin.start`."""
        if await self.imported():
            with contextlib.suppress(_NoForkError):
                return await self._fork(command, cwd, output)
        return await self._started.start(command, cwd=cwd, output=output)

    async def _fork(self, command: Command, cwd: Path | None, output: int) -> Child:
        if self._socket is None:
            raise _NoForkError
        self._next += 1
        answer: asyncio.Future[_Fork] = asyncio.get_running_loop().create_future()
        self._asked[self._next] = answer
        request = Fork(self._next, command.argv, dict(command.environment), str(cwd or os.getcwd()))  # noqa: PTH109  # a word for the wire
        try:
            socket.send_fds(self._socket, [encoded(request)], [output])
            fork = await answer
        except OSError as fault:  # too large for a packet, or the template is just gone
            raise _NoForkError from fault
        finally:
            self._asked.pop(request.number, None)
        self.forks += 1
        return fork

    def _heard(self) -> None:
        assert self._socket is not None
        try:
            packet = self._socket.recv(LARGEST)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if packet:
            self._hear(decoded(packet))
        else:
            self._lost()

    def _hear(self, message: object) -> None:
        assert self._usable is not None
        if isinstance(message, Imported):
            self._usable.set_result(True)
        elif isinstance(message, Refused):
            self._give_up(message.reason)
        elif isinstance(message, Forked):
            self._take(message)
        elif isinstance(message, Ended) and (fork := self._running.pop(message.pid, None)) is not None:
            fork.ended(message.code)

    def _take(self, forked: Forked) -> None:
        answer = self._asked.get(forked.number)
        if answer is None or answer.done():  # whoever asked has been told to leave meanwhile
            with contextlib.suppress(ProcessLookupError):
                os.kill(forked.pid, signal.SIGKILL)
            return
        fork = self._running[forked.pid] = _Fork(forked.pid)
        answer.set_result(fork)

    def _lost(self) -> None:
        """The template is gone; Linux has told its forks to end."""
        assert self._usable is not None
        imported = self._usable.done()
        self._shut()
        if not imported:
            self._give_up("it ended while it imported")
        elif self._usable.result() and not self._closed:
            self._note("its template died; another one is made")
            self._reopening = asyncio.ensure_future(self.open())

    def _give_up(self, reason: str) -> None:
        assert self._usable is not None
        if not self._usable.done():
            self._usable.set_result(False)
        self._note(f"replicas are started as programs, not forked: {reason}")

    def _shut(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(_NoForkError())
        for fork in self._running.values():
            fork.watch()
        self._running.clear()


class _NoForkError(Exception):
    """The template gives no fork; never leaves this file."""
