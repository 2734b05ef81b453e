"""The dispatcher: from a topic to a sink, and from its answers back to topics.

Ownership: every piece of state belongs to the event loop that runs :meth:`Dispatcher.run`; the log behind the
``EventLog`` Protocol has threads of its own and tells them nothing of it. A partition's state is its ledger; whoever
works on an event holds the ledger it came from, so that an answer which comes after the partition went elsewhere finds
a ledger nobody commits any more.

What is written, and what that promises: :mod:`headrace.eventing.commit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import HeadraceError
from headrace.eventing.attempt import Courier
from headrace.eventing.batches import BatchCarrier
from headrace.eventing.capacity import Capacity
from headrace.eventing.carrier import SingleCarrier
from headrace.eventing.clock import SystemClock
from headrace.eventing.commit import Committer
from headrace.eventing.gate import Gate
from headrace.eventing.lanes import Lanes, Ordering, lane_of
from headrace.eventing.ledger import Ledger
from headrace.eventing.metrics import DispatchMetrics, Sight
from headrace.eventing.outcome import Settler
from headrace.eventing.pausing import Valve
from headrace.eventing.rate import Pace
from headrace.eventing.replicas import Replicas
from headrace.eventing.retry import RetryPolicy
from headrace.eventing.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from headrace.eventing.batches import BatchLimits
    from headrace.eventing.carrier import Carrier
    from headrace.eventing.clock import Clock
    from headrace.eventing.filters import Filter
    from headrace.eventing.ledger import Attempts
    from headrace.eventing.log import Committed, EventLog, Partition, Record
    from headrace.eventing.rate import RateLimit
    from headrace.eventing.results import Responder
    from headrace.eventing.sink import Sink

_log = logging.getLogger(__name__)
MOST_A_POLL = 500
LOOK = 1.0
"""Seconds between two looks at what is in hand."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """What one dispatcher does."""

    identity: Responder
    """Names the app, for results and for records that are no CloudEvents."""
    dead_letters: str
    """Topic of events that were given up."""
    results: str | None = None
    """Topic of answers; None where the receiver's answers are dropped, as Knative's KafkaSource does."""
    ordering: Ordering = "none"
    concurrency: int = 16
    """Most events under way at once, alone or in batches; fewer while the receiver says that it has too much."""
    begin: int | None = None
    """Events under way at once at the start, where it is not the most; each round of answers lets one batch more go."""
    replica: int | None = None
    """Events that one replica of the receiver takes at once; None where the number of replicas shall not count."""
    batch: BatchLimits | None = None
    """How much goes in one request; None for one event a request."""
    rate: RateLimit | None = None
    """The most that is delivered; None for as much as the receiver takes."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    cold_start: float = 600.0
    """Seconds that an event waits for a sink that is not there, before it counts as a failed attempt."""
    sink_idle: float = 5.0
    """Seconds without a delivery after which the sink's readiness is asked again."""
    drain: float = 10.0
    """Seconds that work under way may take when a partition is revoked or the dispatcher stops."""
    most_open: int = 1000
    """Records in work or waiting in memory; beyond it partitions are paused."""
    most_open_bytes: int = 128 * 1024 * 1024
    """The same in bytes of their values."""
    wanted: Filter | None = None
    """Which events are meant; the others are done without a delivery. None for all."""
    group: str = ""
    """The consumer group, for spans."""


class Dispatcher:
    """Delivers a topic's events to a sink; see the module's docstring.

    Args:
        log: Where records come from, and where answers and progress go.
        sink: The receiver.
        settings: What to do.
        clock: Time.
        paused: Whether nothing new shall be delivered now; asked at least twice a second.
    """

    def __init__(
        self,
        log: EventLog,
        sink: Sink,
        settings: DispatchSettings,
        clock: Clock | None = None,
        *,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.metrics = DispatchMetrics()
        """What it counts."""
        self._log = log
        self._settings = settings
        self._clock = clock or SystemClock()
        self._ledgers: dict[Partition, Ledger] = {}
        self._work: set[Work] = set()
        self._open_bytes = 0
        self._lanes: Lanes[Work] = Lanes()
        self._throttled = False
        self._committed_at = self._looked_at = self._clock.monotonic()
        self._pace = Pace(settings.rate, self._clock)
        self._valve = Valve(paused)
        self.metrics.watch("paused", "1 while nothing new is delivered.", lambda: int(not self._valve.is_open))
        gate = Gate(sink.ready, cold_start=settings.cold_start, idle=settings.sink_idle, clock=self._clock)
        replicas = Replicas(settings.replica, self._clock) if settings.replica else None
        capacity = _capacity(settings, replicas, self._clock)
        self.metrics.watch("concurrency", "Events that may be under way at once.", lambda: capacity.allowed)
        if replicas:
            said = "Replicas that have answered in the last half minute; 0 where they do not say who they are."
            self.metrics.watch("ready_replicas", said, lambda: replicas.ready or 0)
        self._carrier: Carrier = SingleCarrier(sink, capacity)
        if settings.batch:
            self._carrier = BatchCarrier(sink, gate, capacity, settings.batch, self._clock)
        courier = Courier(
            url=sink.url,
            carrier=self._carrier,
            gate=gate,
            capacity=capacity,
            pace=self._pace,
            valve=self._valve,
            policy=settings.retry,
            identity=settings.identity,
            clock=self._clock,
            waited=self.metrics.waited,
            failed=lambda status, again: self.metrics.failed(status, again=again),
        )
        self._settler = Settler(
            courier,
            identity=settings.identity,
            results=settings.results,
            dead_letters=settings.dead_letters,
            clock=self._clock,
            wanted=settings.wanted,
            group=settings.group,
        )
        self._committer = Committer(
            log,
            self._ledgers,
            self._clock,
            self._settler.too_large,
            self._written,
            on_refusal=self.metrics.dead_letter_failed,
        )
        self.metrics.watch(
            "stuck_partitions", "Partitions that wait for a dead letter.", lambda: len(self._committer.stuck)
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is under way, commit it, and leave the group.

        Raises:
            UnavailableError: no broker answers at the start.
            TakenOverError: another process has this one's name; nothing of this one's was committed since.
        """
        await self._log.start(self)
        committer = asyncio.create_task(self._committer.run())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                if committer.done():
                    committer.result()
                self._valve.look()
                self._look()
                self._log.pause(self._paused())
                records = await self._poll(stopping)
                for record in records:
                    self._admit(record)
                if not records and not stop.is_set():
                    self._step_over()
        finally:
            stopping.cancel()
            await self._leave(committer)

    async def _leave(self, committer: asyncio.Task[None]) -> None:
        """Finish what can be, and leave the group, whatever fails: a member that stayed would hold its partitions."""
        try:
            with contextlib.suppress(HeadraceError):  # a fault of the committer has been raised already
                await self._drain(frozenset(self._ledgers))
        finally:
            committer.cancel()
            await asyncio.gather(committer, return_exceptions=True)
            await self._log.close()

    # --- partitions come and go (RebalanceListener) ---

    def assigned(self, committed: Mapping[Partition, Committed | None]) -> None:
        """Open a ledger for each partition, with what the group knows of it."""
        _log.info("assigned %s", ", ".join(f"{p.topic}/{p.number}" for p in sorted(committed)) or "nothing")
        self._ledgers.update({partition: Ledger(known) for partition, known in committed.items()})
        self._pace.own(len(self._ledgers))

    async def revoked(self, partitions: AbstractSet[Partition]) -> None:
        """Finish and commit what can be finished within the drain deadline; abandon the rest uncommitted."""
        await self._drain(partitions)
        self.lost(partitions)

    def lost(self, partitions: AbstractSet[Partition]) -> None:
        """Forget these partitions: what is under way for them goes on elsewhere."""
        for work in self._work:
            if work.partition in partitions and work.task:
                work.task.cancel()
        for partition in partitions:
            self._ledgers.pop(partition, None)
        self._pace.own(len(self._ledgers))
        self._committer.forget(partitions)

    # --- from the log ---

    async def _poll(self, stopping: asyncio.Task[Literal[True]]) -> list[Record]:
        """The next records; none as soon as the dispatcher is told to stop."""
        polling = asyncio.ensure_future(self._log.poll(MOST_A_POLL))
        waited: set[asyncio.Future[Any]] = {polling, stopping}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        # Also when stopping, the poll is awaited: it holds the log's thread, and lasts half a second at most. Records
        # that it brings then are dropped unadmitted, so uncommitted: the next member reads them.
        records = await polling
        return [] if stopping.done() else list(records)

    def _paused(self) -> AbstractSet[Partition]:
        """Partitions that must deliver nothing now: all when memory is full, else those that cannot go on."""
        held = self._open_bytes + self._committer.held_bytes
        full = len(self._work) >= self._settings.most_open or held >= self._settings.most_open_bytes
        # Hysteresis: resumed at half, or every finished event would cost a pause and a resume.
        emptied = len(self._work) <= self._settings.most_open // 2 and held <= self._settings.most_open_bytes // 2
        self._throttled = full or (self._throttled and not emptied)
        if self._throttled or not self._valve.is_open:
            return frozenset(self._ledgers)
        return {partition for partition, ledger in self._ledgers.items() if ledger.full} | self._committer.stuck

    def _look(self) -> None:
        """See what is in hand, once a second: whoever asks for metrics is another thread."""
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK:
            return
        self._looked_at = now
        ends = self._log.ends()
        lag = {p: max(0, ends[p] - ledger.progress().offset) for p, ledger in self._ledgers.items() if p in ends}
        stamps = [work.record.timestamp for work in self._work if work.record.timestamp >= 0]
        self.metrics.sight = Sight(
            lag=lag,
            oldest=max(0.0, self._clock.time() - min(stamps) / 1000) if stamps else 0.0,
            commit_age=now - self._committed_at if self._work else 0.0,
            in_hand=len(self._work),
            under_way=len(self._carrier.under_way),
        )

    def _admit(self, record: Record) -> None:
        ledger = self._ledgers.get(record.partition)
        if ledger is None:
            return
        fresh = ledger.admit(record.offset)
        self.metrics.received(fresh=fresh)
        if not fresh:
            return
        work = Work(record, ledger, lane_of(record, self._settings.ordering), self._clock.monotonic())
        self._work.add(work)
        self._open_bytes += work.size
        if self._lanes.enter(work.lane, work):
            self._begin(work)

    def _step_over(self) -> None:
        """Commit past what is no record at the end of a partition, or what scales by its lag never sees zero."""
        for partition, position in self._log.reached().items():
            if partition in self._ledgers and self._ledgers[partition].reached(position):
                self._committer.touch(partition)

    def _begin(self, work: Work) -> None:
        work.task = asyncio.ensure_future(self._handle(work))
        work.task.add_done_callback(lambda _: self._end(work))

    async def _handle(self, work: Work) -> None:
        offset = work.record.offset

        def failed() -> Attempts:
            attempts = work.ledger.failed(offset, self._clock.time())
            if work.is_among(self._ledgers):
                self._committer.touch(work.partition)
            return attempts

        before = work.ledger.attempts(offset)
        work.outcome = await self._settler.settle(work.record, before=before, on_failure=failed)
        if work.is_among(self._ledgers):
            self._committer.settle(work)

    def _written(self, work: Work) -> None:
        work.close()
        self._committed_at = self._clock.monotonic()
        if work.outcome:
            self.metrics.written(work.outcome, self._committed_at - work.arrived, self._clock.time())

    def _end(self, work: Work) -> None:
        self._forget(work)
        following = self._lanes.leave(work.lane)
        while following is not None and not following.is_among(self._ledgers):
            self._forget(following)
            following = self._lanes.leave(work.lane)
        if following is not None:
            self._begin(following)

    def _forget(self, work: Work) -> None:
        self._work.discard(work)
        self._open_bytes -= work.size

    async def _drain(self, partitions: AbstractSet[Partition]) -> None:
        """Let the sink finish what it has in hand, and commit; what only waits is given up: others read it again."""
        tasks = {work.task for work in self._work if work.task and work.partition in partitions}
        for waiting in tasks - self._carrier.under_way:
            waiting.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._committer.commit(), timeout=self._settings.drain)


def _capacity(settings: DispatchSettings, replicas: Replicas | None, clock: Clock) -> Capacity:
    """The bound on events under way; with batches it rises by one of them at a time."""
    return Capacity(
        settings.concurrency,
        longest=settings.cold_start,
        clock=clock,
        begin=settings.begin,
        step=settings.batch.size if settings.batch else 1.0,
        replicas=replicas,
    )
