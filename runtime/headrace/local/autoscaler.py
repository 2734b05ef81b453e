"""How many replicas a service should have: Knative's stable mode, in miniature.

Concurrency is averaged over the stable window; a drop is followed only once the whole window agrees; from zero, and
where a hard limit leaves requests waiting, replicas are asked for at once. Knative's panic window, its limits on the
rate of change, and scaling by requests a second are left out.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from headrace.local.clock import Clock
    from headrace.local.resources import Scale


class Scalable(Protocol):
    """The replicas of a service."""

    desired: int

    def scale_to(self, desired: int, cause: Context | None = None) -> None:
        """Have ``desired`` replicas, started on behalf of the span in ``cause``."""
        ...


@dataclass(frozen=True, slots=True)
class Observation:
    """What a decision rests on."""

    average: float
    """Requests waiting or in flight, averaged over the stable window."""
    current: int
    """The same, now."""
    replicas: int
    """Replicas asked for by the last decision."""
    idle_for: float
    """Seconds since the last request ended; 0 while there is one."""


def decide(seen: Observation, scale: Scale, limit: int) -> int:
    """Replicas to have: enough for the average at the target, none after the idle time, within the bounds.

    Args:
        seen: What was observed.
        scale: What the manifest asks for.
        limit: Most replicas of a service on this machine.
    """
    wanted = math.ceil(seen.average / scale.target)
    if seen.current == 0 and seen.idle_for >= scale.idle:
        wanted = 0
    elif seen.replicas or seen.current:
        wanted = max(1, wanted)
    return bounded(wanted, scale, limit)


def bounded(wanted: int, scale: Scale, limit: int) -> int:
    """``wanted`` within the manifest's bounds and the machine's; the manifest's minimum always stands."""
    most = min(scale.maximum or limit, limit)
    return max(scale.minimum, min(wanted, most))


class Load:
    """The requests of one service over time.

    Args:
        window: Seconds of history.
        clock: Tells the time of every change.
    """

    def __init__(self, window: float, clock: Clock) -> None:
        self.current = 0
        """Requests waiting or in flight now."""
        self._window = window
        self._clock = clock
        self._since = self._last_change = self._last_request = clock.now()
        self._area = 0.0  # requests x seconds since `_since`
        self._past: deque[tuple[float, float, float]] = deque()  # (when it ended, seconds, requests x seconds)

    def change(self, by: int) -> None:
        """A request came (+1) or went (-1)."""
        self._integrate()
        self.current += by
        self._last_request = self._last_change

    def average(self) -> float:
        """Concurrency over the window, or over the time since the first request where that is shorter."""
        self._integrate()
        now = self._last_change
        if now > self._since:
            self._past.append((now, now - self._since, self._area))
            self._since, self._area = now, 0.0
        while self._past and self._past[0][0] <= now - self._window:
            self._past.popleft()
        # Leading silence says nothing about the burst that ended it, as Knative's buckets have it.
        while self._past and not self._past[0][2]:
            self._past.popleft()
        seconds = sum(length for _, length, _ in self._past)
        return sum(area for _, _, area in self._past) / seconds if seconds else float(self.current)

    def idle_for(self) -> float:
        """Seconds since the last request ended; 0 while there is one."""
        return 0.0 if self.current else self._clock.now() - self._last_request

    def _integrate(self) -> None:
        now = self._clock.now()
        self._area += self.current * (now - self._last_change)
        self._last_change = now


class Autoscaler:
    """Decides for one service, once a tick and whenever a request finds no room.

    Args:
        scale: What the manifest asks for.
        replicas: Are told how many to be.
        load: The service's requests.
        clock: Paces the ticks.
        tick: Seconds between two decisions.
        limit: Most replicas on this machine.
    """

    def __init__(self, scale: Scale, replicas: Scalable, load: Load, clock: Clock, *, tick: float, limit: int) -> None:
        self._scale = scale
        self._replicas = replicas
        self._load = load
        self._clock = clock
        self._tick = tick
        self._limit = limit
        self._recommended: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Decide until cancelled."""
        while True:
            await self._clock.sleep(self._tick)
            self.decide()

    def decide(self) -> None:
        """One decision: up at once, down when no decision of the window wanted more, to zero after the idle time."""
        seen = Observation(
            average=self._load.average(),
            current=self._load.current,
            replicas=self._replicas.desired,
            idle_for=self._load.idle_for(),
        )
        wanted = decide(seen, self._scale, self._limit)
        if wanted == 0:
            self._recommended.clear()
        else:
            self._remember(wanted)
            wanted = self._most_recommended()
        if wanted != seen.replicas:
            self._replicas.scale_to(wanted)

    def poke(self, cause: Context | None = None) -> None:
        """A request waits: there is no replica, or all are at their hard limit. Ask for what holds all of them."""
        each = self._scale.concurrency
        wanted = bounded(math.ceil(self._load.current / each) if each else 1, self._scale, self._limit)
        if wanted > self._replicas.desired:
            self._remember(wanted)
            self._replicas.scale_to(wanted, cause)

    def _remember(self, wanted: int) -> None:
        self._recommended.append((self._clock.now(), wanted))

    def _most_recommended(self) -> int:
        while self._recommended and self._recommended[0][0] <= self._clock.now() - self._scale.window:
            self._recommended.popleft()
        return max((wanted for _, wanted in self._recommended), default=0)
