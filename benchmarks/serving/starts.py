"""What it costs to get ready: time, CPU and memory."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.serving.hosts import Host, free_port, headrace_command, kserve_command, running

if TYPE_CHECKING:
    from collections.abc import Callable

MEBIBYTE = 1 << 20
SHARE = 0.75
"""Of KServe's CPU to get ready with a torch model, at most."""
MODELS = {"echo": "benchmarks.serving.models:Echo", "torch, two layers": "benchmarks.serving.models:Layers"}


@dataclass(frozen=True, slots=True)
class Start:
    """Getting ready with one model: medians of the rounds."""

    model: str
    host: str
    seconds: float
    cpu: float
    """Seconds of CPU until ready."""
    mebibytes: float
    """In memory when ready."""


def starts(rounds: int, told: Callable[[str], None]) -> list[Start]:
    """Both servers' starts with each model, one after another in each round; ``told`` hears what is being done."""
    found = []
    for model, target in MODELS.items():
        told(f"start with {model}")
        seen: dict[str, list[Host]] = {"kserve": [], "headrace": []}
        for _ in range(rounds):
            for name, hosts in seen.items():
                http = free_port()
                command = (
                    kserve_command(target, http, free_port()) if name == "kserve" else headrace_command(target, http, 0)
                )
                with running(name, command, http, 0) as host:
                    hosts.append(host)
        found += [_medians(model, name, hosts) for name, hosts in seen.items()]
    return found


def _medians(model: str, name: str, hosts: list[Host]) -> Start:
    return Start(
        model,
        name,
        median(host.ready for host in hosts),
        median(host.at_ready.cpu for host in hosts),
        median(host.at_ready.rss for host in hosts) / MEBIBYTE,
    )
