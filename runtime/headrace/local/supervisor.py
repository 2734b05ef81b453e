"""A process that is always up: restarted with back-off when it ends, reported when it ends again and again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Literal

from headrace.errors import HeadraceError
from headrace.local.processes import Process, exit_reason
from headrace.local.status import TwinEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.local.commands import Command
    from headrace.local.logs import LogFile
    from headrace.local.settings import TwinSettings
    from headrace.local.status import Happening

_STABLE = 10.0
"""Seconds of life after which an end is the first again, as far as the back-off goes."""


class Supervisor:
    """Keeps one process up.

    Args:
        subject: What it is called in events.
        command: Made anew for each start.
        cwd: Its working folder.
        log: Where its lines go; closed with it.
        grace: Seconds between SIGTERM and SIGKILL.
        settings: The back-off.
        on_event: Is told of every start and end.
        heard: Called with every line that it writes.
    """

    def __init__(
        self,
        subject: str,
        command: Callable[[], Command],
        *,
        cwd: Path | None,
        log: LogFile,
        grace: float,
        settings: TwinSettings,
        on_event: Callable[[TwinEvent], None],
        heard: Callable[[str], None] | None = None,
    ) -> None:
        self.subject = subject
        self.restarts = 0
        self.problem = ""
        """How it ended last; empty when it never did."""
        self._command = command
        self._cwd = cwd
        self._log = log
        self._grace = grace
        self._settings = settings
        self._on_event = on_event
        self._heard = heard
        self._process: Process | None = None
        self._stopping = False
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> Literal["running", "restarting", "stopped"]:
        """``restarting`` is between two starts."""
        if self._stopping or self._task is None:
            return "stopped"
        return "running" if self.pid else "restarting"

    @property
    def pid(self) -> int | None:
        """The number of its process, if there is one now."""
        return self._process.pid if self._process and not self._process.ended else None

    def start(self) -> None:
        """Begin to keep it up."""
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """SIGTERM, the grace period, SIGKILL; no restart."""
        self._stopping = True
        if self._task is not None:
            await self._stop(self._task)
        self._log.close()

    async def _stop(self, task: asyncio.Task[None]) -> None:
        began = time.monotonic()
        if self._process is not None:
            self._tell("stopping")
            await self._process.stop(self._grace)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._tell("stopped", seconds=time.monotonic() - began)

    async def _run(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            try:
                reason = await self._live()
            except HeadraceError as fault:
                reason = str(fault)
            if self._stopping:
                return
            self.restarts += 1
            self.problem = reason
            self._ended(time.monotonic() - began, reason)
            await asyncio.sleep(min(self._settings.max_backoff, self._settings.start_backoff * 2.0**self._failures / 2))

    async def _live(self) -> str:
        self._tell("starting")
        process = await Process.start(
            self.subject.rpartition("/")[2], self._command(), cwd=self._cwd, log=self._log, heard=self._heard
        )
        self._process = process
        try:
            if self._stopping:  # told so while it started
                await process.stop(self._grace)
            return exit_reason(await process.wait(), process.last_line)
        except asyncio.CancelledError:
            process.kill()
            raise

    def _ended(self, lived: float, reason: str) -> None:
        self._failures = 1 if lived >= _STABLE else self._failures + 1
        self._tell("died", seconds=lived, detail=reason)
        if self._failures == self._settings.start_attempts:
            self._tell("failed", detail=f"ended {self._failures} times in a row, and is tried on: {reason}")

    def _tell(self, kind: Happening, *, seconds: float = 0.0, detail: str = "") -> None:
        self._on_event(TwinEvent(kind, self.subject, seconds=seconds, detail=detail))
