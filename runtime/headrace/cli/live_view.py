"""What ``headrace up`` shows to a person who looks on: a table that is always true, and above it what happened."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console, RenderableType

    from headrace.cli.app_lag import AppLag
    from headrace.local.status import ServiceStatus, TwinEvent, TwinStatus

_PROBLEMS = 3
"""Last problems that are shown."""
_COLUMNS = ("app", "lag", "rate", "model", "replicas", "in flight", "waiting")


class LiveView:
    """The table at the foot of a terminal.

    Args:
        console: Where it is drawn.
        status: The twin's status now; asked at each refresh.
    """

    def __init__(self, console: Console, status: Callable[[], TwinStatus | None]) -> None:
        self._console = console
        self._status = status
        self._lags: Mapping[str, AppLag] = {}
        self._problems: deque[str] = deque(maxlen=_PROBLEMS)
        self._live = Live(
            console=console, get_renderable=self.render, refresh_per_second=4, transient=True, auto_refresh=False
        )

    def start(self) -> None:
        """Draw it."""
        self._live.start()

    def stop(self) -> None:
        """Take it away; what was said above it stays."""
        self._live.stop()

    def refresh(self) -> None:
        """Draw it anew."""
        self._live.refresh()

    def say(self, line: str) -> None:
        """A line above the table."""
        self._console.print(Text(line), soft_wrap=True)

    def happened(self, event: TwinEvent, line: str) -> None:
        """An event of the twin, in words; a problem stays in sight."""
        self.say(line)
        if event.kind in ("died", "failed"):
            self._problems.append(line)

    def lags(self, found: Sequence[AppLag]) -> None:
        """How far the apps are."""
        self._lags = {lag.app: lag for lag in found}

    def render(self) -> RenderableType:
        """The table as it is now."""
        status = self._status()
        if status is None:
            return Text("")
        return Group(_table(status, self._lags), *(Text(f"! {line}", style="red") for line in self._problems))


def _table(status: TwinStatus, lags: Mapping[str, AppLag]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("app", "model", "replicas") else "right")
    paused = {workload.name.removesuffix("-dispatcher") for workload in status.workloads if workload.paused}
    seen: set[str] = set()
    for service in status.services:
        table.add_row(*(Text(word) for word in _row(service, lags, first=service.app not in seen, paused=paused)))
        seen.add(service.app)
    return table


def _row(service: ServiceStatus, lags: Mapping[str, AppLag], *, first: bool, paused: set[str]) -> tuple[str, ...]:
    app, lag, rate = "", "", ""
    if first:
        app = f"{service.app} (paused)" if service.app in paused else service.app
        if known := lags.get(service.app):
            lag, rate = f"{known.lag:,}", f"{known.rate:,.1f}/s"
    return (app, lag, rate, service.name, _replicas(service), str(service.in_flight), str(service.queued))


def _replicas(service: ServiceStatus) -> str:
    ready = sum(replica.state == "ready" for replica in service.replicas)
    if not service.desired and not service.replicas:
        return "at zero"
    return f"{ready} of {service.desired} {'●' * ready}{'○' * max(0, service.desired - ready)}"
