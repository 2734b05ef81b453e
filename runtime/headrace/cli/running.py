"""What ``headrace up`` and ``headrace demo`` set and print alike."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.local.settings import TwinSettings
    from headrace.local.status import TwinEvent
    from headrace.local.twin import Twin


def on_port(settings: TwinSettings, kafka_port: int) -> TwinSettings:
    """The settings with the embedded broker's port."""
    return replace(settings, kafka_port=kafka_port)


async def until_stopped(twin: Twin, welcome: Callable[[], str]) -> None:
    """Start the twin, print the welcome, and end it at SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starting = asyncio.ensure_future(twin.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        typer.echo(welcome())
        await stopping
        typer.echo("stopping", err=True)
    finally:
        stopping.cancel()
        await twin.stop()


def event_line(event: TwinEvent) -> str:
    """What happened, in a line for people; empty for what they need not see."""
    who = event.replica or event.subject
    lines = {
        "starting": f"{who} is starting{_because(event)}",
        "ready": f"{who} is ready after {event.seconds:.1f} s{_because(event)}",
        "stopping": "",
        "stopped": f"{who} is stopped{_because(event)}",
        "died": f"{who} died after {event.seconds:.1f} s{_because(event)}",
        "failed": f"{who} does not start{_because(event)}",
        "skipped": f"not run here: {event.subject}{_because(event)}",
        "ignored": "",
        "note": f"{who}{_because(event)}",
    }
    return lines[event.kind]


def _because(event: TwinEvent) -> str:
    return f": {event.detail}" if event.detail else ""
