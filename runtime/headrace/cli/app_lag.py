"""How far the apps' consumer groups are behind, and how fast they go, as the broker tells it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.eventing.kafka.scan import Scanner
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.local.state import RunningApp


@dataclass(frozen=True, slots=True)
class AppLag:
    """One app's place in its topics."""

    app: str
    lag: int
    """Records that are not committed yet."""
    rate: float
    """Records committed a second since the look before."""


class LagWatch:
    """Looks again and again; blocks on the network, so call it in a thread.

    Args:
        kafka: The cluster.
        apps: Whose groups are looked at; an app whose dispatcher is Knative's has none of ours.
    """

    def __init__(self, kafka: KafkaSettings | str, apps: Sequence[RunningApp]) -> None:
        self._kafka = kafka
        self._apps = tuple(app for app in apps if app.group)
        self._scanners: dict[str, Scanner] = {}
        self._before: dict[str, tuple[float, int]] = {}

    def look(self) -> tuple[AppLag, ...]:
        """The apps as they stand now.

        Raises:
            UnavailableError: no broker answers.
            ConfigurationError: a topic is gone, or the login is refused.
        """
        return tuple(self._app(app) for app in self._apps)

    def close(self) -> None:
        """Leave the broker."""
        for scanner in self._scanners.values():
            scanner.__exit__(None, None, None)
        self._scanners.clear()

    def _app(self, app: RunningApp) -> AppLag:
        from headrace.eventing.kafka.scan import Scanner

        if app.name not in self._scanners:
            self._scanners[app.name] = Scanner(self._kafka, group=app.group)
        lag = done = 0
        for topic in app.topics:
            behind, committed = _place(self._scanners[app.name], topic)
            lag, done = lag + behind, done + committed
        return AppLag(app.name, lag, self._rate(app.name, done))

    def _rate(self, app: str, done: int) -> float:
        now = time.monotonic()
        then, before = self._before.get(app, (now, done))
        self._before[app] = (now, done)
        return max(0, done - before) / (now - then) if now > then else 0.0


def _place(scanner: Scanner, topic: str) -> tuple[int, int]:
    """Records behind, and offsets committed in sum; before its first commit a group begins at the first record."""
    ends, begins, committed = scanner.ends(topic), scanner.begins(topic), scanner.committed(topic)
    lag = done = 0
    for partition, end in ends.items():
        progress = committed.get(partition)
        at = progress.offset if progress else begins[partition]
        lag, done = lag + max(0, end - at), done + at
    return lag, done
