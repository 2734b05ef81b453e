"""Knative's pod autoscaler: how many replicas the averages ask for, by its stable and its panic window.

The algorithm of knative/serving, pkg/autoscaler/scaling: desired = ceil(average / target), held between what the
rates of change allow; twice too few replicas (the panic threshold) is panic, in which the short window counts as well
and nothing is taken away until a whole stable window passed without. Numbers in tests are those of its definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.local.load import Averages
    from headrace.local.resources import Scale

TICK = 2.0
"""Seconds between two decisions, and the precision of ``scale-down-delay``."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the averages ask for, and why."""

    desired: int
    excess: int
    """Excess burst capacity: below 0 the activator stays in the path of requests."""
    panicking: bool
    why: str
    """The numbers, as a person checks them."""


class DelayWindow:
    """The most of what was wanted within a time (``scale-down-delay``), in steps of a tick.

    Args:
        seconds: The time.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._steps = math.ceil(seconds / TICK)
        self._wanted: dict[int, int] = {}

    def most(self, now: float, wanted: int) -> int:
        """Note what is wanted now; the most of the window."""
        step = math.floor(now / TICK)
        self._wanted[step] = max(wanted, self._wanted.get(step, wanted))
        for old in [old for old in self._wanted if old <= step - self._steps]:
            del self._wanted[old]
        return max(self._wanted.values())


class Kpa:
    """The autoscaler of one revision; it remembers whether it panics.

    Args:
        scale: What the annotations say.
        ready: Replicas at its start: more than one is taken for a panic, so that a restart takes none away.
        now: The time.
    """

    def __init__(self, scale: Scale, *, ready: int = 0, now: float = 0.0) -> None:
        self.panicking_since: float | None = now if ready > 1 else None
        """When the threshold was last crossed."""
        self._most = ready
        self._delay: DelayWindow | None = None
        self.configure(scale)

    def configure(self, scale: Scale) -> None:
        """Follow changed annotations from the next decision on."""
        self._scale = scale
        if scale.delay <= 0:
            self._delay = None
        elif self._delay is None or self._delay.seconds != scale.delay:
            self._delay = DelayWindow(scale.delay)

    def decide(self, seen: Averages, ready: int, now: float, *, reachable: bool = True) -> Verdict:
        """One decision.

        Args:
            seen: The averages of both windows.
            ready: Replicas that take requests.
            now: Seconds; only goes forward.
            reachable: Whether a route leads to this revision; one that none leads to goes down at once.
        """
        counted = max(1, ready)
        stable, panic = (math.ceil(value / self._scale.target) for value in seen)
        desired_stable = self._within_rates(stable, counted, reachable=reachable)
        desired_panic = self._within_rates(panic, counted, reachable=reachable)
        self._panic_or_calm(panic / counted, now)
        desired = desired_stable
        if self.panicking_since is not None:
            self._most = max(self._most, desired_stable, desired_panic)
            desired = self._most
        delayed = self._delay.most(now, desired) if self._delay and reachable else desired
        why = self._words(seen, (stable, panic), (desired, delayed), ready)
        return Verdict(delayed, self._excess(seen.panic, ready), self.panicking_since is not None, why)

    def _within_rates(self, wanted: int, counted: int, *, reachable: bool) -> int:
        most = math.ceil(self._scale.up_rate * counted)
        least = math.floor(counted / self._scale.down_rate) if reachable else 0
        bounded = min(max(wanted, least), most)
        return max(bounded, self._scale.activation) if wanted > 0 else bounded

    def _panic_or_calm(self, shortage: float, now: float) -> None:
        if shortage >= self._scale.panic_threshold / 100:
            self.panicking_since = now
        elif self.panicking_since is not None and self.panicking_since + self._scale.window < now:
            self.panicking_since = None
            self._most = 0

    def _excess(self, panic: float, ready: int) -> int:
        if self._scale.burst == 0:
            return 0
        if self._scale.burst < 0:
            return -1
        return math.floor(ready * self._scale.total - self._scale.burst - panic)

    def _words(self, seen: Averages, raw: tuple[int, int], result: tuple[int, int], ready: int) -> str:
        unit = " rps" if self._scale.metric == "rps" else ""
        parts = [
            f"stable {seen.stable:.4g}{unit} / {self._scale.target:.4g} -> {raw[0]}",
            f"panic {seen.panic:.4g}{unit} / {self._scale.target:.4g} -> {raw[1]}",
            f"{ready} ready",
        ]
        if self.panicking_since is not None:
            parts.append(f"in panic, so not below {self._most}")
        elif result[0] != raw[0]:
            parts.append(f"held at {result[0]} by the rates of change or the activation scale")
        if result[1] != result[0]:
            parts.append(f"down to {result[0]} only after the scale-down delay")
        return "; ".join(parts)
