"""From records of usage to a report: who used how much, what waiting cost, what scale-to-zero saved.

The seconds of a replica are those of its life, where somebody outside of it told of that; else what it told itself.
What a replica did not tell of its life, such as the end of its process, or everything since its last word where it
was killed, is a share of nobody's, called `ending`. So all rows together are the seconds of all replicas.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from headrace.telemetry.usage.record import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.telemetry.prices import Prices
    from headrace.telemetry.usage.record import Life, Place

By = Literal["tenant", "app", "model", "day"]
NOBODYS = "(nobody)"
THOUSAND = 1000
SILENCE = 120.0
"""Seconds without a word after which a replica that nobody saw end is taken to be gone: they tell every ten."""


@dataclass(frozen=True, slots=True)
class Told:
    """One record and when it was told."""

    at: float
    """Seconds of Unix time."""
    record: Usage | Life


@dataclass(slots=True)
class Row:
    """What one tenant, app, model or day used."""

    key: str
    events: int = 0
    items: int = 0
    tokens: int = 0
    bytes: int = 0
    compute_seconds: float = 0.0
    cold_start_seconds: float = 0.0
    idle_seconds: float = 0.0
    ending_seconds: float = 0.0
    cost: float = 0.0
    idle_cost: float = 0.0
    """The part of the cost that is of idle and ending seconds."""

    @property
    def seconds(self) -> float:
        """All of its replica seconds."""
        return self.compute_seconds + self.cold_start_seconds + self.idle_seconds + self.ending_seconds

    @property
    def cost_per_thousand(self) -> float | None:
        """The cost of 1,000 of its events; None where it had none."""
        return self.cost / self.events * THOUSAND if self.events else None

    def add(self, used: Usage, prices: Prices | None) -> None:
        """Count one record."""
        self.events += used.events
        self.items += used.items if used.events else 0
        self.tokens += used.tokens
        self.bytes += used.bytes if used.events else 0
        self.compute_seconds += used.compute_seconds
        self.cold_start_seconds += used.cold_start_seconds
        self.idle_seconds += used.idle_seconds
        if prices is not None:
            self.cost += prices.cost(used.replica_seconds, used.size, used.key)
            self.idle_cost += prices.cost(used.idle_seconds, used.size, used.key)

    def add_ending(self, seconds: float, place: Place, prices: Prices | None) -> None:
        """Count seconds of a replica that it did not tell of."""
        self.ending_seconds += seconds
        if prices is not None:
            cost = prices.cost(seconds, place.size, place.key)
            self.cost += cost
            self.idle_cost += cost


@dataclass(frozen=True, slots=True)
class AlwaysOn:
    """What one component would have used with a replica that never goes."""

    app: str
    component: str
    window_seconds: float
    """From its first replica's start to the report's end."""
    seconds_at_zero: float
    """Without a replica: what scale-to-zero saved."""
    saved_cost: float


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    by: By
    rows: tuple[Row, ...]
    """The most expensive first; days in their order."""
    total: Row
    """All rows together."""
    replica_seconds: float
    """Of every replica, by its life; the total's seconds are as many."""
    replicas: int
    ended: int
    """Replicas whose life was told: whose every second is known."""
    always_on: tuple[AlwaysOn, ...]
    currency: str = ""
    """Empty without prices."""

    @property
    def saved_cost(self) -> float:
        """What scale-to-zero saved against one replica of each component that never goes."""
        return math.fsum(each.saved_cost for each in self.always_on)

    @property
    def saved_seconds(self) -> float:
        """The same in seconds."""
        return math.fsum(each.seconds_at_zero for each in self.always_on)


@dataclass(slots=True)
class _Replica:
    place: Place
    model: str = NOBODYS
    began: float = math.inf
    last: float = -math.inf
    life: float | None = None
    told: float = 0.0
    told_since: float = 0.0

    @property
    def ending(self) -> float:
        return max(0.0, self.life - self.told) if self.life is not None else 0.0


@dataclass(slots=True)
class _Reading:
    since: float
    replicas: dict[str, _Replica] = field(default_factory=dict)

    def see(self, told: Told) -> None:
        record = told.record
        # Containers of one pod have its name in common.
        replica = self.replicas.setdefault(f"{record.component}/{record.replica}", _Replica(record))
        replica.last = max(replica.last, told.at)
        if isinstance(record, Usage):
            replica.model = _model(record)
            replica.began = min(replica.began, record.replica_started)
            replica.told += record.replica_seconds
            replica.told_since += record.replica_seconds if told.at >= self.since else 0.0
        else:
            replica.life = record.seconds
            replica.began = min(replica.began, told.at - record.seconds)


def report(
    records: Iterable[Told], by: By, *, prices: Prices | None = None, since: float = 0.0, now: float | None = None
) -> Report:
    """The report over records; each counts once, however often it is there.

    Args:
        records: Usage and lives; whoever reads them drops what came twice.
        by: What a row stands for.
        prices: Without them, nothing has a cost.
        since: What was told before this moment, in seconds of Unix time, is left out.
        now: The report's end; that of the last record where None.
    """
    reading = _Reading(since)
    rows: dict[str, Row] = {}
    total = Row("total")
    for told in records:
        reading.see(told)
        if isinstance(told.record, Usage) and told.at >= since:
            key = _key(told.record, told.at, by)
            for row in (rows.setdefault(key, Row(key)), total):
                row.add(told.record, prices)
    seen = [replica for replica in reading.replicas.values() if replica.last >= since]
    for replica in seen:
        if replica.ending:
            key = _ending_key(replica, by)
            for row in (rows.setdefault(key, Row(key)), total):
                row.add_ending(replica.ending, replica.place, prices)
    return Report(
        by,
        _ordered(rows.values(), by),
        total,
        math.fsum(map(_seconds, seen)),
        len(seen),
        sum(replica.life is not None for replica in seen),
        _always_on(seen, since, now, prices),
        prices.currency if prices else "",
    )


def _seconds(replica: _Replica) -> float:
    """The replica's seconds; of one that told something before the report begins, what it told since and its ending."""
    if replica.life is not None and replica.told_since == replica.told:
        return replica.life
    return replica.told_since + replica.ending


def _key(used: Usage, at: float, by: By) -> str:
    if by == "tenant":
        return used.tenant or NOBODYS
    if by == "app":
        return used.key
    return _model(used) if by == "model" else _day(at)


def _ending_key(replica: _Replica, by: By) -> str:
    if by == "app":
        return replica.place.key
    if by == "model":
        return replica.model
    return _day(replica.last) if by == "day" else NOBODYS


def _model(used: Usage) -> str:
    return f"{used.model} {used.revision}"


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, tz=timezone.utc).date().isoformat()


def _ordered(rows: Iterable[Row], by: By) -> tuple[Row, ...]:
    if by == "day":
        return tuple(sorted(rows, key=lambda row: row.key))
    return tuple(sorted(rows, key=lambda row: (-row.cost, -row.seconds, row.key)))


def _always_on(
    replicas: Sequence[_Replica], since: float, now: float | None, prices: Prices | None
) -> tuple[AlwaysOn, ...]:
    components: dict[tuple[str, str], list[_Replica]] = defaultdict(list)
    for replica in replicas:
        components[replica.place.key, replica.place.component].append(replica)
    end = now if now is not None else max((replica.last for replica in replicas), default=0.0)
    for replica in replicas:
        if replica.life is None and end - replica.last < SILENCE:
            replica.last = end
    return tuple(
        _at_zero(app, component, found, (since, end), prices) for (app, component), found in sorted(components.items())
    )


def _at_zero(
    app: str, component: str, replicas: Sequence[_Replica], within: tuple[float, float], prices: Prices | None
) -> AlwaysOn:
    since, end = within
    lives = sorted((max(replica.began, since), min(replica.last, end)) for replica in replicas)
    reached = start = lives[0][0]
    empty = 0.0
    for began, ended in lives:
        empty += max(0.0, began - reached)
        reached = max(reached, ended)
    empty += max(0.0, end - reached)
    size = replicas[-1].place.size
    saved = prices.cost(empty, size, app) if prices else 0.0
    return AlwaysOn(app, component, max(0.0, end - start), empty, saved)
