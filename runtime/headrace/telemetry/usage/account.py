"""The account of one replica: what it is told of requests and runs, and how its seconds are shared out.

Time is settled in periods. A period ends at a moment before which everything is known: what still waits for the model
holds it back, for a minute at most. The busy seconds of a period go to the requests that were worked on; its other
seconds, of starting and of waiting, go to the requests that were answered in it, in proportion to what was computed
for them; and where there was none, to nobody. So what has been told, and what is still held for requests under way,
are always the seconds since the replica began.

Owner of the account: whoever calls it, from one thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.telemetry.usage.sharing import clipped, shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.telemetry.usage.sharing import Interval

PATIENCE = 60.0
"""Seconds for which a request that waits for the model may hold a settlement back."""


@dataclass(slots=True, eq=False)
class Entry:
    """One request, from its coming to its answer."""

    entered: float
    """On the account's clock."""
    model: str
    tenant: str = ""
    event_source: str = ""
    event_id: str = ""
    events: int = 1
    bytes: int = 0
    items: int = 1
    tokens: int = 0
    works: bool = False
    """Whether it is worked on from its coming on, and no run is told of."""
    outcome: str = ""
    left: float | None = None
    """When it was answered."""
    queue: float = 0.0
    batch_size: int = 1
    batch_share: float = 1.0
    compute: float = 0.0
    """Seconds settled so far."""
    told: bool = False
    """Whether its share has been told."""


@dataclass(frozen=True, slots=True)
class Share:
    """What is told: one request's seconds, or nobody's."""

    entry: Entry | None
    until: float
    """End of the period, on the account's clock."""
    compute: float
    cold_start: float
    idle: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute + self.cold_start + self.idle


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a model, or several that ended together."""

    lasted: Interval
    parts: tuple[tuple[Entry, float], ...]
    """Who was in it, and the part of each; the parts add up to 1."""


@dataclass(slots=True)
class _Held:
    """Seconds without work that are kept for requests under way."""

    cold_start: float = 0.0
    idle: float = 0.0


@dataclass(slots=True)
class Account:
    """The seconds of one replica; see the module's docstring."""

    began: float
    """When the replica's process began; all times are on one steady clock."""
    ready_at: float | None = None
    """When it was ready; what comes before is its cold start."""
    settled: float = field(init=False)
    """Until when everything is shared out."""
    _open: set[Entry] = field(default_factory=set, init=False)
    _answered: list[Entry] = field(default_factory=list, init=False)
    _runs: list[_Run] = field(default_factory=list, init=False)
    _held: _Held = field(default_factory=_Held, init=False)

    def __post_init__(self) -> None:
        self.settled = self.began

    def enter(self, entry: Entry) -> None:
        """A request has come."""
        self._open.add(entry)

    def leave(self, entry: Entry, now: float, outcome: str) -> None:
        """It is answered, or its caller is gone."""
        if entry not in self._open:
            return
        entry.left, entry.outcome = now, outcome
        self._open.discard(entry)
        self._answered.append(entry)
        if entry.works:
            self._runs.append(_Run((entry.entered, now), ((entry, 1.0),)))

    def ran(self, entries: Sequence[tuple[Entry, float]], began: float, ended: float) -> None:
        """The model has run for these requests.

        Args:
            entries: The requests and the weight of each in the run, such as its rows.
            began: When the run began.
            ended: When it ended.
        """
        whole = sum(weight for _, weight in entries)
        parts = tuple((self._unsettled(entry, ended), weight / whole) for entry, weight in entries)
        for entry, part in parts:
            entry.queue = max(0.0, began - entry.entered)
            entry.batch_size, entry.batch_share = len(parts), part
        self._runs.append(_Run((began, ended), parts))

    def settle(self, now: float, *, last: bool = False) -> list[Share]:
        """Share out what is known by now.

        Args:
            now: The time.
            last: Whether the replica ends: what is under way is told as far as it came.
        """
        until = now if last else max(self.settled, self._horizon(now))
        if until <= self.settled and not last:
            return []
        period = (self.settled, until)
        busy = self._work(period)
        cold = clipped(period, (self.began, until if self.ready_at is None else self.ready_at))
        self._held.cold_start += cold[1] - cold[0]
        # Rounding alone could make it less than nothing.
        self._held.idle += max(0.0, (until - self.settled) - (cold[1] - cold[0]) - busy)
        self.settled = until
        if last:
            for entry in tuple(self._open):
                self.leave(entry, until, "unanswered")
        return self._told(until)

    def _unsettled(self, entry: Entry, ended: float) -> Entry:
        """The entry; or one more for a request that was given up and told before its run ended."""
        if not entry.told:
            return entry
        more = Entry(
            entry.entered,
            entry.model,
            entry.tenant,
            entry.event_source,
            entry.event_id,
            events=0,
            items=0,
            outcome=entry.outcome,
            left=ended,
        )
        self._answered.append(more)
        return more

    def _horizon(self, now: float) -> float:
        waiting = min((entry.entered for entry in self._open if not entry.works), default=now)
        return max(min(now, waiting), now - PATIENCE)

    def _work(self, period: Interval) -> float:
        """Give each request its part of the period's work; the seconds in which there was any."""
        start = self.ready_at if self.ready_at is not None else period[1]
        within = (min(max(period[0], start), period[1]), period[1])
        under_way = [_Run((entry.entered, period[1]), ((entry, 1.0),)) for entry in self._open if entry.works]
        runs = [*self._runs, *under_way]
        got = shares([clipped(run.lasted, within) for run in runs])
        for run, seconds in zip(runs, got, strict=True):
            for entry, part in run.parts:
                entry.compute += seconds * part
        self._runs = [run for run in self._runs if run.lasted[1] > period[1]]
        return sum(got)

    def _told(self, until: float) -> list[Share]:
        # What was answered later than the period's end may have work beyond it.
        done = [entry for entry in self._answered if entry.left is not None and entry.left <= until]
        self._answered = [entry for entry in self._answered if entry.left is None or entry.left > until]
        if not done:
            return self._of_nobody(until)
        held, self._held = self._held, _Held()
        told = list(_parts(done, held, until))
        for entry in done:
            entry.told = True
        return told

    def _of_nobody(self, until: float) -> list[Share]:
        if self._open or self._answered:
            return []  # held for those
        held, self._held = self._held, _Held()
        return [Share(None, until, 0.0, held.cold_start, held.idle)] if held.cold_start or held.idle else []


def _parts(done: Sequence[Entry], held: _Held, until: float) -> Iterable[Share]:
    whole = sum(entry.compute for entry in done)
    for entry in done:
        part = entry.compute / whole if whole > 0 else 1 / len(done)
        yield Share(entry, until, entry.compute, held.cold_start * part, held.idle * part)
