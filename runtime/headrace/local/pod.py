"""The processes of one replica: one for each container of its pod, started and ended together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.local.processes import Process, exit_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.local.children import Origin
    from headrace.local.commands import Command
    from headrace.local.logs import LogFile


@dataclass(frozen=True, slots=True)
class Part:
    """A process to start."""

    name: str
    command: Command
    cwd: Path | None
    origin: Origin


class Pod:
    """Running processes; made by :meth:`start`."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes

    @classmethod
    async def start(cls, parts: Sequence[Part], log: LogFile) -> Pod:
        """Start all of them, the first of which takes the requests.

        Raises:
            UnavailableError: the system starts one of them not; none of the others goes on.
        """
        processes: list[Process] = []
        try:
            for part in parts:
                process = await Process.start(part.name, part.command, cwd=part.cwd, log=log, origin=part.origin)
                processes.append(process)
        except BaseException:
            for process in processes:
                process.kill()
            raise
        return cls(processes)

    @property
    def pid(self) -> int:
        """The number of the first one."""
        return self._processes[0].pid

    @property
    def forked(self) -> bool:
        """Whether the first one is a fork of a template."""
        return self._processes[0].forked

    @property
    def ended(self) -> bool:
        """Whether one of them is gone: with it the replica is."""
        return any(process.ended for process in self._processes)

    async def over(self) -> str:
        """Wait until one of them is gone, and say which and how."""
        waiting = [asyncio.ensure_future(process.wait()) for process in self._processes]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            first = next(place for place, task in enumerate(waiting) if task.done())
        finally:
            for task in waiting:
                task.cancel()
        process = self._processes[first]
        reason = exit_reason(waiting[first].result(), process.last_line)
        return f"({process.name}) {reason}" if first else reason

    async def stop(self, grace: float) -> None:
        """SIGTERM to all at once, and SIGKILL after ``grace`` seconds."""
        await asyncio.gather(*(process.stop(grace) for process in self._processes))

    async def wait(self) -> None:
        """Wait until all are gone."""
        await asyncio.gather(*(process.wait() for process in self._processes))

    def kill(self) -> None:
        """SIGKILL them and everything they started."""
        for process in self._processes:
            process.kill()
