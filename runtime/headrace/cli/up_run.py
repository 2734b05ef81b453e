"""The life of a ``headrace up``: start, show, follow the user's files, stop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from headrace.cli.changes import broken, changes
from headrace.cli.running import event_line, started, stopped_by_signals
from headrace.errors import HeadraceError
from headrace.manifests.loading import load_apps

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.cli.changes import Changes
    from headrace.cli.live_view import LiveView
    from headrace.local.settings import TwinSettings
    from headrace.local.status import TwinEvent, TwinStatus
    from headrace.local.twin import Twin
    from headrace.manifests.spec import InferenceApp

_REFRESH = 1.0
"""Seconds between two looks at the broker while somebody looks on."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the user asked for."""

    file: Path
    home: Path
    kafka: str | None
    port: int
    settings: TwinSettings
    verbose: bool
    reload: bool
    live: bool


class Up:
    """Runs the apps of a file until told to stop."""

    def __init__(self, options: UpOptions, apps: list[InferenceApp]) -> None:
        self._options = options
        self._apps = apps
        self._view: LiveView | None = None
        self._twin = self._made(apps)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            HeadraceError: the twin does not start.
        """
        self._stop = stopped_by_signals()
        try:
            if await started(self._twin, self._stop):
                typer.echo(_welcome(self._twin, self._apps))
                await self._stay()
                typer.echo("stopping", err=True)
        finally:
            await self._twin.stop()

    async def _stay(self) -> None:
        beside = [asyncio.ensure_future(self._show())] if self._options.live else []
        if self._options.reload:
            beside.append(asyncio.ensure_future(self._follow()))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *beside], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a twin that did not come up again is the end of the command
        finally:
            self._stop.set()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _follow(self) -> None:
        async for found in changes(self._options.file.absolute(), self._stop, self._say):
            await self._changed(found)

    async def _changed(self, found: Changes) -> None:
        try:
            made = await self._reloaded(found)
        except HeadraceError as fault:
            self._refuse(" ".join(str(fault).split()))
            return
        if made is not None:
            await self._replace(*made)

    async def _reloaded(self, found: Changes) -> tuple[Twin, list[InferenceApp]] | None:
        """Run changed code; where the apps are others now, the twin that runs those."""
        if fault := broken(found.code):
            self._refuse(fault)
            return None
        apps = await asyncio.to_thread(load_apps, self._options.file)
        if apps != self._apps:
            return self._made(apps, beside=self._twin), apps
        if found.code:
            self._say(f"{', '.join(path.name for path in found.code)} changed: reloading")
            await self._twin.renew()
        return None

    async def _replace(self, made: Twin, apps: list[InferenceApp]) -> None:
        """Another twin in the place of this one, at the same addresses; events wait in Kafka meanwhile."""
        self._say(f"{self._options.file.name} changed: starting anew")
        await self._twin.stop()
        self._twin, self._apps = made, apps
        if await started(self._twin, self._stop):
            self._say(_welcome(self._twin, apps))

    def _refuse(self, reason: str) -> None:
        self._say(f"not reloaded, what ran goes on: {reason}")

    async def _show(self) -> None:
        from rich.console import Console

        from headrace.cli.app_lag import LagWatch
        from headrace.cli.live_view import LiveView

        self._view = view = LiveView(Console(highlight=False), self._status)
        view.start()
        watch, twin = LagWatch(self._twin.kafka, self._twin.apps), self._twin
        try:
            while not self._stop.is_set():
                if twin is not self._twin:
                    await asyncio.to_thread(watch.close)
                    watch, twin = LagWatch(self._twin.kafka, self._twin.apps), self._twin
                with contextlib.suppress(HeadraceError):  # the broker is starting or gone: the twin's lines say so
                    view.lags(await asyncio.to_thread(watch.look))
                view.refresh()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _REFRESH)
        finally:
            self._view = None
            view.stop()
            with contextlib.suppress(HeadraceError):
                await asyncio.to_thread(watch.close)

    def _status(self) -> TwinStatus:
        return self._twin.status()

    def _made(self, apps: list[InferenceApp], *, beside: Twin | None = None) -> Twin:
        from headrace.local.apps import twin_of

        options = self._options
        port, settings = options.port, options.settings
        if beside is not None:  # those that were free then are in use by others now: the user's terminals and scripts
            port = int(beside.ingress_url.rpartition(":")[2])
            if options.kafka is None:
                settings = replace(settings, kafka_port=int(beside.kafka.rpartition(":")[2]))
        return twin_of(
            apps,
            home=options.home,
            folder=options.file.absolute().parent,
            kafka=options.kafka,
            port=port,
            settings=settings,
            on_event=self._happened,
            echo=self._say if options.verbose else None,
        )

    def _happened(self, event: TwinEvent) -> None:
        if not (line := event_line(event)):
            return
        if self._view is not None:
            self._view.happened(event, line)
        else:
            typer.echo(line, err=True)

    def _say(self, line: str) -> None:
        if self._view is not None:
            self._view.say(line)
        else:
            typer.echo(line, err=True)


def somebody_looks_on() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    import os

    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _welcome(twin: Twin, apps: list[InferenceApp]) -> str:
    lines = [f"Kafka    {twin.kafka}", f"ingress  {twin.ingress_url}"]
    for app in apps:
        host = f"http://{app.name}.{app.namespace}.localhost:{twin.ingress_url.rpartition(':')[2].rstrip('/')}"
        answers = f" -> {app.result_topic}" if app.result_topic else ""
        lines.append(f"app      {app.name}: {app.spec.trigger.topic}{answers}, {host}")
        if twin.home.pause_file(app.name).exists():
            lines.append(f"paused   {app.name}: its events wait until `headrace resume {app.name}`")
    return "\n".join([*lines, "Ctrl-C stops it all."])
