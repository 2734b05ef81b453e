"""The requests of one service over time, as its queue-proxies and the activator would report them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headrace.local.buckets import Buckets

if TYPE_CHECKING:
    from headrace.local.clock import Clock
    from headrace.local.resources import Scale


class Averages(NamedTuple):
    """What the autoscaler looks at: requests at a time, or requests a second."""

    stable: float
    """Over the stable window."""
    panic: float
    """Over the panic window."""


class Load:
    """Counts requests, and keeps their averages.

    Args:
        scale: Its windows, metric and way of averaging.
        clock: Tells the time of every change.
        granularity: Seconds between two reports.
    """

    def __init__(self, scale: Scale, clock: Clock, *, granularity: float = 1.0) -> None:
        self.current = 0
        """Requests waiting or in flight now."""
        self._clock = clock
        self._metric = scale.metric
        self._granularity = granularity
        self._since = self._last_change = self._last_request = clock.now()
        self._area = 0.0  # requests x seconds since `_since`
        self._arrived = 0
        self._owed = 0.0
        self._begin(scale)

    def configure(self, scale: Scale) -> None:
        """Follow changed annotations: windows keep what they hold, another metric or way of averaging begins anew."""
        if (scale.metric, scale.weighted) == (self._metric, self._weighted):
            self._stable.resize(scale.window)
            self._panic.resize(scale.panic_window)
        else:
            self._metric = scale.metric
            self._begin(scale)

    def change(self, by: int) -> None:
        """A request came (+1) or went (-1)."""
        self._integrate()
        self.current += by
        self._arrived += max(0, by)
        self._last_request = self._last_change

    def report(self) -> None:
        """Put what happened since the last report into the windows; due once a second."""
        self._integrate()
        now = self._last_change
        if (seconds := now - self._since) <= 0:
            return
        rps = self._metric == "rps"
        value = (self._arrived - self._owed) / seconds if rps else self._area / seconds - self._owed
        self._record(now, max(0.0, value))
        self._since, self._area, self._arrived, self._owed = now, 0.0, 0, 0.0

    def report_first(self) -> None:
        """Report the request that found no replica, at once, as the first of a new period; the next report has it."""
        self._integrate()
        if not self._owed:
            self._since, self._area, self._arrived, self._owed = self._last_change, 0.0, 1, 1.0
            self._record(self._last_change, 1.0)

    def forget(self) -> None:
        """Begin anew: what was is no reason for a replica any more."""
        self._integrate()
        self._stable.clear()
        self._panic.clear()
        self._since, self._area, self._arrived, self._owed = self._last_change, 0.0, 0, 0.0

    def averages(self) -> Averages | None:
        """Over both windows; None where nothing was reported for a window's time."""
        now = self._clock.now()
        if self._stable.empty(now):
            return None
        return Averages(self._stable.average(now), self._panic.average(now))

    def idle_for(self) -> float:
        """Seconds since the last request ended; 0 while there is one."""
        return 0.0 if self.current else self._clock.now() - self._last_request

    def _begin(self, scale: Scale) -> None:
        self._weighted = scale.weighted
        self._stable = Buckets(scale.window, self._granularity, weighted=scale.weighted)
        self._panic = Buckets(scale.panic_window, self._granularity, weighted=scale.weighted)

    def _record(self, now: float, value: float) -> None:
        self._stable.record(now, value)
        self._panic.record(now, value)

    def _integrate(self) -> None:
        now = self._clock.now()
        self._area += self.current * (now - self._last_change)
        self._last_change = now
