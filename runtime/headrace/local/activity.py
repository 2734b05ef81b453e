"""From what is wanted to what is applied: bounds, the initial scale, and the way to zero.

Knative's reconciler (knative/serving, pkg/reconciler/autoscaling/kpa): a revision is inactive, activating or active.
The last replica goes when it was active for a stable window, nothing is wanted, and then the retention period and the
grace period are over; the grace counts from the moment in which the activator was put into the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from headrace.local.resources import Scale

Condition = Literal["inactive", "activating", "active"]
_UNKNOWN = -1
ACTIVATION_BUFFER = 30.0
"""Seconds beyond the progress deadline after which an activation has failed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known when a number is to be applied."""

    now: float
    ready: int
    """Replicas that take requests."""
    asked: int
    """Replicas asked for so far."""
    idle_for: float = 0.0
    """Seconds since the last request ended; 0 while there is one."""
    excess: int = -1
    """Excess burst capacity; below 0 the activator is in the path."""


class Activity:
    """Whether a revision is active, and the number of replicas that follows.

    Args:
        scale: What the annotations say.
        deadline: Seconds that an activation may take (``progress-deadline``).
        limit: Most replicas of one service on this machine; the manifest's minimum always stands.
        now: The time.
    """

    def __init__(self, scale: Scale, *, deadline: float, limit: int, now: float) -> None:
        self._scale = scale
        self._deadline = deadline
        self._limit = limit
        self._initialised = False
        self.condition: Condition = "activating" if self.first else "inactive"
        self.since = now
        """When it became so."""
        self._proxied_since: float | None = now

    @property
    def first(self) -> int:
        """Replicas to begin with."""
        return self._bounded(self._scale.initial)

    @property
    def proxied(self) -> bool:
        """Whether the activator is in the path of requests."""
        return self._proxied_since is not None

    def configure(self, scale: Scale) -> None:
        """Follow changed annotations."""
        self._scale = scale

    def apply(self, wanted: int, at: Moment) -> tuple[int, str]:
        """The number of replicas to ask for, and why it is not what is wanted."""
        number = self._bounded(wanted)
        reason = f"{number} by min-scale, max-scale or this machine's limit" if number != wanted else ""
        if self.condition == "activating" and not number:
            number, asked, reason = self._activating(at)
        elif self._scale.idle is not None:
            number, asked, reason = self._by_idle(number, reason, at)
        elif number:
            asked = number
        else:
            number, asked, reason = self._to_zero(at)
        self._observe(number, at)
        return asked, reason

    def _bounded(self, wanted: int) -> int:
        most = min(self._scale.maximum or self._limit, self._limit)
        first = 0 if self._initialised or self._scale.initial <= 1 else min(self._scale.initial, most)
        return max(self._scale.minimum, first, min(wanted, most))

    def _activating(self, at: Moment) -> tuple[int, int, str]:
        deadline = self._deadline + ACTIVATION_BUFFER
        if at.now - self.since >= deadline:
            return 0, 0, f"not activated within {deadline:g} s"
        return _UNKNOWN, at.asked, "activating"

    def _by_idle(self, number: int, reason: str, at: Moment) -> tuple[int, int, str]:
        """Headrace's own annotation: to zero exactly after that time, whatever the windows say."""
        idle = self._scale.idle or 0.0
        if self.condition == "active" and not self._bounded(0) and min(at.idle_for, at.now - self.since) >= idle:
            return 0, 0, f"no request for {idle:g} s (headrace.dev/idle)"
        if number or not at.asked:
            return number, number, reason
        return 1, 1, f"the last one stays for {idle:g} s without a request (headrace.dev/idle)"

    def _to_zero(self, at: Moment) -> tuple[int, int, str]:
        """What becomes of a wanted zero: the number wanted, the number asked for, the reason."""
        if not self._scale.to_zero:
            return 1, 1, "enable-scale-to-zero is false"
        lasted = at.now - self.since
        if self.condition == "active" and lasted < self._scale.window:
            return 1, 1, f"active for {lasted:.0f} s, less than the stable window"
        if self.condition == "active":
            return 0, at.asked, "nothing wanted: inactive from now on"
        if lasted < self._scale.retention:
            return 0, at.asked, f"retained: inactive for {lasted:.0f} of {self._scale.retention:g} s"
        proxied = 0.0 if self._proxied_since is None else at.now - self._proxied_since
        if max(proxied, lasted) < self._scale.grace:
            return 0, at.asked, f"the activator is in the path for {proxied:.0f} of {self._scale.grace:g} s"
        return 0, 0, ""

    def _observe(self, wanted: int, at: Moment) -> None:
        """Knative's table from wanted and ready replicas to the condition."""
        if wanted == 0:
            self._become("inactive", at.now)
        elif wanted > 0 or self.condition != "inactive":
            first = 0 if self._initialised else self._bounded(self._scale.initial)
            enough = at.ready >= max(1, self._bounded(0), first)
            self._initialised = self._initialised or enough
            self._become("active" if enough else "activating", at.now)
        if wanted != 0 and at.excess >= 0 and at.ready:
            self._proxied_since = None
        elif self._proxied_since is None:
            self._proxied_since = at.now

    def _become(self, condition: Condition, now: float) -> None:
        if condition != self.condition:
            self.condition = condition
            self.since = now
