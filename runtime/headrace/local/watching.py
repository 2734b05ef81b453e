"""A replica's probes while it lives: readiness takes it out of the rotation, liveness ends it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headrace.local.readiness import Readiness, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import aiohttp

    from headrace.local.commands import Command
    from headrace.local.containers import Container
    from headrace.local.probes import Probe


class Watched:
    """One container of a replica, to be asked.

    Args:
        container: What it is.
        command: Its process's: probes that are commands run with the same variables.
        cwd: Its working folder.
        ports: The port here of each of its own.
        session: For probes over HTTP.
    """

    def __init__(
        self,
        container: Container,
        command: Command,
        *,
        cwd: Path | None,
        ports: Mapping[int, int],
        session: aiohttp.ClientSession,
    ) -> None:
        self.container = container
        self._command = command
        self._cwd = cwd
        self._ports = ports
        self._session = session
        self._started = container.startup is None

    async def ready(self, usual: Probe | None) -> Readiness:
        """Whether it is started and ready; ``usual`` is asked where it has no readiness probe."""
        if not self._started and self.container.startup is not None:
            found = await self.ask(self.container.startup)
            if found is not Readiness.READY:
                return found
            self._started = True
        own = self.container.readiness
        # A command says nothing of the port: Knative's queue-proxy asks there as well.
        asked = (own, usual) if own and own.kind == "exec" else (own or usual,)
        for probe in asked:
            if probe and (found := await self.ask(probe)) is not Readiness.READY:
                return found
        return Readiness.READY

    async def ask(self, probe: Probe) -> Readiness:
        """One probe."""
        port = self._ports.get(probe.port or self.container.port, probe.port)
        return await ask(self._session, probe, port, self._run)

    async def _run(self, words: tuple[str, ...], seconds: float) -> bool:
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                cwd=self._cwd,
                env=dict(self._command.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            return False
        try:
            return await asyncio.wait_for(process.wait(), seconds) == 0
        except (asyncio.TimeoutError, asyncio.CancelledError) as fault:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(fault, asyncio.CancelledError):
                raise
            return False


def watch(
    parts: Sequence[Watched], *, unready: Callable[[bool], None], dead: Callable[[str], None]
) -> list[asyncio.Task[None]]:
    """Ask every probe by its period until cancelled.

    Args:
        parts: The containers.
        unready: Told True when one is not ready any more, False when it is again.
        dead: Told why, when one fails its liveness probe.
    """
    tasks = []
    for part in parts:
        if probe := part.container.readiness:
            tasks.append(asyncio.ensure_future(_keep_asking(part, probe, unready)))
        if probe := part.container.liveness:
            tasks.append(asyncio.ensure_future(_until_dead(part, probe, dead)))
    return tasks


async def _keep_asking(part: Watched, probe: Probe, unready: Callable[[bool], None]) -> None:
    missed = 0
    while True:
        await asyncio.sleep(probe.period)
        if await _answers(part, probe):
            if missed >= probe.failures:
                unready(False)
            missed = 0
        else:
            missed += 1
            if missed == probe.failures:
                unready(True)


async def _until_dead(part: Watched, probe: Probe, dead: Callable[[str], None]) -> None:
    await asyncio.sleep(probe.delay)
    missed = 0
    while missed < probe.failures:
        await asyncio.sleep(probe.period)
        missed = 0 if await _answers(part, probe) else missed + 1
    dead(f"failed its liveness probe {missed} times")


async def _answers(part: Watched, probe: Probe) -> bool:
    return await part.ask(probe) is Readiness.READY
