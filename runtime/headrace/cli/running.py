"""What ``headrace up`` and ``headrace demo`` set and print alike."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.local.status import TwinEvent
    from headrace.local.twin import Twin


def stopped_by_signals() -> asyncio.Event:
    """Set at SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def started(twin: Twin, stop: asyncio.Event) -> bool:
    """Start the twin; False where it was told to stop before it was up.

    Raises:
        HeadraceError: it does not start.
    """
    starting, stopping = asyncio.ensure_future(twin.start()), asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return False
    starting.result()
    return True


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
