"""How traffic moves from one revision to the next: at once, or in equal steps over Knative's rollout-duration. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST = 1
"""Per cent that a new revision begins with."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The way of the newest revision to its share, as knative/serving pkg/reconciler/route/traffic has it."""

    percent: int
    """What it shall have in the end."""
    duration: float
    """Seconds until then; 0 is at once."""
    step: float = 1.0
    """Seconds that the first per cent took, at least one: no later step is shorter."""

    def newest(self, elapsed: float) -> int:
        """Its share, in per cent, so many seconds after the first step."""
        if self.duration <= 0 or self.percent <= FIRST:
            return self.percent
        seconds = max(1.0, self.duration - self.step)
        steps = min(max(1.0, seconds / self.step), float(self.percent - FIRST))
        size = round((self.percent - FIRST) / steps)
        taken = math.floor(max(0.0, elapsed - self.step) / (seconds / steps) + 1e-9)
        return min(self.percent, FIRST + size * taken)

    def over(self, elapsed: float) -> bool:
        """Whether it has its share."""
        return self.newest(elapsed) >= self.percent
