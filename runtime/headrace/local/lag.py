"""KEDA's rule for consumers of a topic: so many by the lag of their group. Pure.

KEDA's Kafka scaler decides between none and one, and tells the Horizontal Pod Autoscaler of Kubernetes the lag, which
decides all else by its usual behaviour (autoscaling/v2).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

_TOLERANCE = 0.1
"""Of the Horizontal Pod Autoscaler: a tenth more or less changes nothing."""
_STEP = 15.0
"""Seconds in which it adds four or as many as there are, whichever is more."""
_STABLE = 300.0
"""Seconds of which it takes the most that was wanted before it takes any away."""
_ADDED = 4


@dataclass(frozen=True, slots=True)
class LagRule:
    """What a ScaledObject says; times in seconds, defaults KEDA's."""

    threshold: int = 10
    """Lag for one consumer (``lagThreshold``)."""
    activation: int = 0
    """Lag above which the first one starts (``activationLagThreshold``)."""
    minimum: int = 0
    maximum: int = 100
    cooldown: float = 300.0
    """Without lag before the last one goes (``cooldownPeriod``)."""
    idle_consumers: bool = False
    """Whether there may be more than partitions (``allowIdleConsumers``)."""
    fallback: int | None = None
    """How many there are where the lag is not to be had."""
    failures: int = 3
    """How often in a row it must not be."""


class LagScaler:
    """The number of one group's consumers.

    Args:
        rule: What the ScaledObject says.
        partitions: Of the topic.
    """

    def __init__(self, rule: LagRule, partitions: int) -> None:
        self._rule = rule
        self._partitions = partitions
        self._active_until = -math.inf
        self._wanted: deque[tuple[float, int]] = deque()
        self._counts: deque[tuple[float, int]] = deque()
        self._missed = 0

    def decide(self, lag: int | None, current: int, now: float) -> int:
        """Consumers to have.

        Args:
            lag: Records that the group has not committed; None where it could not be asked.
            current: Consumers now.
            now: Seconds; only goes forward.
        """
        if lag is None:
            return self._unknown(current)
        self._missed = 0
        if lag > self._rule.activation:
            self._active_until = now + self._rule.cooldown
        if current == 0:
            self._wanted.clear()
            self._counts.clear()
            return max(1, self._rule.minimum) if lag > self._rule.activation else self._rule.minimum
        if self._rule.minimum == 0 and now >= self._active_until:
            return 0
        return self._autoscaled(lag, current, now)

    def _unknown(self, current: int) -> int:
        self._missed += 1
        fallback = self._rule.fallback
        return current if fallback is None or self._missed < self._rule.failures else fallback

    def _autoscaled(self, lag: int, current: int, now: float) -> int:
        most = math.inf if self._rule.idle_consumers else self._partitions * self._rule.threshold
        shared = min(lag, most) / self._rule.threshold
        wanted = current if abs(shared / current - 1) <= _TOLERANCE else math.ceil(shared)
        wanted = max(1, self._rule.minimum, min(wanted, self._rule.maximum))
        self._wanted.append((now, wanted))
        self._counts.append((now, current))
        while self._wanted[0][0] <= now - _STABLE:
            self._wanted.popleft()
        while self._counts[0][0] <= now - _STEP:
            self._counts.popleft()
        if wanted < current:
            return min(current, max(number for _, number in self._wanted))
        before = min(number for _, number in self._counts)
        return min(wanted, max(before + _ADDED, 2 * before))
