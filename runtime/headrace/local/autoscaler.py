"""How many replicas a service has: reports every second, a decision every two, one at once when a request finds none.

The loop around Knative's algorithm (``kpa``) and its reconciler (``activity``), on a clock that tests bring along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from headrace.local.activity import Activity, Moment
from headrace.local.decisions import Decision, Decisions
from headrace.local.kpa import Kpa, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from headrace.local.clock import Clock
    from headrace.local.load import Averages, Load
    from headrace.local.resources import Scale
    from headrace.local.settings import TwinSettings

PROGRESS_DEADLINE = 600.0
"""Seconds, Knative's usual (config-deployment)."""
_NOTHING = Verdict(0, -1, panicking=False, why="no request was reported")


class Scalable(Protocol):
    """The replicas of a service."""

    desired: int

    @property
    def answering(self) -> int:
        """Those that take requests."""
        ...

    def scale_to(self, desired: int, cause: Context | None = None) -> None:
        """Have ``desired`` replicas, started on behalf of the span in ``cause``."""
        ...


class Autoscaler:
    """Decides for one service.

    Args:
        scale: What the manifest asks for.
        replicas: Are told how many to be.
        load: The service's requests.
        clock: Paces reports and decisions.
        settings: Their intervals, and the most replicas on this machine.
        deadline: Seconds that a replica may take to become ready.
    """

    def __init__(
        self,
        scale: Scale,
        replicas: Scalable,
        load: Load,
        clock: Clock,
        *,
        settings: TwinSettings,
        deadline: float = PROGRESS_DEADLINE,
    ) -> None:
        now = clock.now()
        self.scale = scale
        """What it goes by now."""
        self.decisions = Decisions()
        self.queued: Callable[[], int] = lambda: 0
        """Tells the requests that wait."""
        self.reachable: Callable[[], bool] = lambda: True
        """Tells whether a route leads here."""
        self._replicas = replicas
        self._load = load
        self._clock = clock
        self._settings = settings
        self._kpa = Kpa(scale, now=now)
        self._activity = Activity(scale, deadline=deadline, limit=settings.replica_limit, now=now)
        self._verdict = _NOTHING

    @property
    def proxied(self) -> bool:
        """Whether the activator holds requests back; else each replica queues its own."""
        return self._activity.proxied

    def begin(self) -> None:
        """Ask for the replicas that are to be there without a request."""
        self._replicas.scale_to(self._activity.first)

    def configure(self, scale: Scale) -> None:
        """Go by changed annotations, from the next decision on."""
        self.scale = scale
        self._load.configure(scale)
        self._kpa.configure(scale)
        self._activity.configure(scale)

    async def run(self) -> None:
        """Report and decide until cancelled."""
        due = self._clock.now() + self._settings.tick
        while True:
            await self._clock.sleep(self._settings.report)
            if self._replicas.desired or self._load.current:
                self._load.report()
            if (now := self._clock.now()) >= due - self._settings.report / 2:
                due = now + self._settings.tick
                self.decide()

    def decide(self, cause: Context | None = None) -> None:
        """One decision; replicas started for it are on behalf of the span in ``cause``."""
        now, ready, before = self._clock.now(), self._replicas.answering, self._replicas.desired
        seen = self._load.averages()
        if seen is not None:
            self._verdict = self._kpa.decide(seen, ready, now, reachable=self.reachable())
        moment = Moment(now, ready, before, self._load.idle_for(), self._verdict.excess)
        asked, reason = self._activity.apply(self._verdict.desired, moment)
        self._keep(seen, moment, asked, reason)
        if asked != before:
            self._replicas.scale_to(asked, cause)
            if asked == 0:
                self.forget()

    def poke(self, cause: Context | None = None) -> None:
        """A request has to wait. With no replica asked for, that is a reason to decide at once; else the tick is."""
        if self._replicas.desired == 0:
            self._load.report_first()
            self.decide(cause)

    def forget(self) -> None:
        """Begin anew, at zero: only a new request is a reason for a replica."""
        self._load.forget()
        self._kpa = Kpa(self.scale, now=self._clock.now())
        self._verdict = _NOTHING

    def _keep(self, seen: Averages | None, at: Moment, asked: int, reason: str) -> None:
        verdict = self._verdict
        self.decisions.add(
            Decision(
                time=at.now,
                stable=seen.stable if seen else 0.0,
                panic=seen.panic if seen else 0.0,
                target=self.scale.target,
                current=self._load.current,
                queued=self.queued(),
                ready=at.ready,
                wanted=verdict.desired,
                asked=asked,
                before=at.asked,
                panicking=verdict.panicking,
                excess=verdict.excess,
                why="; ".join(filter(None, (verdict.why, reason))),
            )
        )
