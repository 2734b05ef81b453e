"""What ``headrace up`` and ``headrace demo`` set and print alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.local.settings import TwinSettings
    from headrace.local.status import TwinEvent


def on_port(settings: TwinSettings, kafka_port: int) -> TwinSettings:
    """The settings with the embedded broker's port."""
    return replace(settings, kafka_port=kafka_port)


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
        "note": f"{who}{_because(event)}",
    }
    return lines[event.kind]


def _because(event: TwinEvent) -> str:
    return f": {event.detail}" if event.detail else ""
