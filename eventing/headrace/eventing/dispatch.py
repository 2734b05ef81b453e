"""The dispatcher: from a topic to a sink, and from its answers back to topics.

Ownership: every piece of state belongs to the event loop that runs :meth:`Dispatcher.run`; the log behind the
``EventLog`` Protocol has threads of its own and tells them nothing of it. A partition's state is its ledger; whoever
works on an event holds the ledger it came from, so that an answer which comes after the partition went elsewhere finds
a ledger nobody commits any more.

The invariant that all rests on: an offset is marked done only together with the records that answer it, in one
transaction. So an event is lost by nothing that dies, and answered twice by nothing that comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import HeadraceError, PayloadTooLargeError
from headrace.eventing.attempt import Courier
from headrace.eventing.clock import SystemClock
from headrace.eventing.gate import Gate
from headrace.eventing.lanes import Lanes, Ordering, lane_of
from headrace.eventing.ledger import Ledger
from headrace.eventing.outcome import Settler
from headrace.eventing.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from collections.abc import Set as AbstractSet

    from headrace.eventing.clock import Clock
    from headrace.eventing.ledger import Attempts
    from headrace.eventing.log import Committed, EventLog, Partition, Record
    from headrace.eventing.outcome import Outcome
    from headrace.eventing.results import Responder
    from headrace.eventing.sink import Sink

_log = logging.getLogger(__name__)
MOST_A_POLL = 500
COMMIT_PAUSE = 1.0
"""Seconds between two tries to commit while the log does not take it; a partition waits, it never skips."""


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
    """Most deliveries under way at once."""
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


@dataclass(eq=False, slots=True)
class _Work:
    """One record in work."""

    record: Record
    ledger: Ledger
    lane: Hashable | None
    task: asyncio.Task[None] | None = None
    outcome: Outcome | None = None

    @property
    def partition(self) -> Partition:
        return self.record.partition

    @property
    def size(self) -> int:
        return len(self.record.value or b"")


class Dispatcher:
    """Delivers a topic's events to a sink; see the module's docstring.

    Args:
        log: Where records come from, and where answers and progress go.
        sink: The receiver.
        settings: What to do.
        clock: Time.
    """

    def __init__(self, log: EventLog, sink: Sink, settings: DispatchSettings, clock: Clock | None = None) -> None:
        self._log = log
        self._settings = settings
        self._clock = clock or SystemClock()
        self._ledgers: dict[Partition, Ledger] = {}
        self._dirty: set[Partition] = set()
        self._work: set[_Work] = set()
        self._open_bytes = 0
        self._lanes: Lanes[_Work] = Lanes()
        self._settled: list[_Work] = []
        self._to_commit = asyncio.Event()
        self._committing = asyncio.Lock()
        self._throttled = False
        gate = Gate(sink.ready, cold_start=settings.cold_start, idle=settings.sink_idle, clock=self._clock)
        self._courier = Courier(
            sink=sink,
            gate=gate,
            slots=asyncio.Semaphore(settings.concurrency),
            policy=settings.retry,
            identity=settings.identity,
            clock=self._clock,
        )
        self._settler = Settler(
            self._courier,
            identity=settings.identity,
            results=settings.results,
            dead_letters=settings.dead_letters,
            clock=self._clock,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is under way, commit it, and leave the group.

        Raises:
            UnavailableError: no broker answers at the start.
            TakenOverError: another process has this one's name; nothing of this one's was committed since.
        """
        await self._log.start(self)
        committer = asyncio.ensure_future(self._commit_for_ever())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                if committer.done():
                    committer.result()
                self._log.pause(self._paused())
                for record in await self._poll(stopping):
                    self._admit(record)
        finally:
            stopping.cancel()
            with contextlib.suppress(HeadraceError):  # a fault of the committer has been raised above
                await self._drain(frozenset(self._ledgers))
            committer.cancel()
            with contextlib.suppress(asyncio.CancelledError, HeadraceError):
                await committer
            await self._log.close()

    # --- partitions come and go (RebalanceListener) ---

    def assigned(self, committed: Mapping[Partition, Committed | None]) -> None:
        """Open a ledger for each partition, with what the group knows of it."""
        _log.info("assigned %s", ", ".join(f"{p.topic}/{p.number}" for p in sorted(committed)) or "nothing")
        self._ledgers.update({partition: Ledger(known) for partition, known in committed.items()})

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
        self._dirty -= partitions
        self._settled = [work for work in self._settled if work.partition not in partitions]

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
        """Partitions that must deliver nothing now: all when memory is full, else those whose ledger is."""
        full = len(self._work) >= self._settings.most_open or self._open_bytes >= self._settings.most_open_bytes
        # Hysteresis: resumed at half, or every finished event would cost a pause and a resume.
        emptied = (
            len(self._work) <= self._settings.most_open // 2 and self._open_bytes <= self._settings.most_open_bytes // 2
        )
        self._throttled = full or (self._throttled and not emptied)
        if self._throttled:
            return frozenset(self._ledgers)
        return {partition for partition, ledger in self._ledgers.items() if ledger.full}

    def _admit(self, record: Record) -> None:
        ledger = self._ledgers.get(record.partition)
        if ledger is None or not ledger.admit(record.offset):
            return
        work = _Work(record, ledger, lane_of(record, self._settings.ordering))
        self._work.add(work)
        self._open_bytes += work.size
        if self._lanes.enter(work.lane, work):
            self._begin(work)

    def _begin(self, work: _Work) -> None:
        work.task = asyncio.ensure_future(self._handle(work))
        work.task.add_done_callback(lambda _: self._end(work))

    async def _handle(self, work: _Work) -> None:
        offset = work.record.offset

        def failed() -> Attempts:
            attempts = work.ledger.failed(offset, self._clock.time())
            if self._owns(work):
                self._dirty.add(work.partition)
                self._to_commit.set()
            return attempts

        before = work.ledger.attempts(offset)
        work.outcome = await self._settler.settle(work.record, before=before, on_failure=failed)
        if self._owns(work):
            self._settled.append(work)
            self._to_commit.set()

    def _end(self, work: _Work) -> None:
        self._forget(work)
        following = self._lanes.leave(work.lane)
        while following is not None and not self._owns(following):
            self._forget(following)
            following = self._lanes.leave(work.lane)
        if following is not None:
            self._begin(following)

    def _forget(self, work: _Work) -> None:
        self._work.discard(work)
        self._open_bytes -= work.size

    def _owns(self, work: _Work) -> bool:
        """Whether the partition is still ours since the record was admitted."""
        return self._ledgers.get(work.partition) is work.ledger

    # --- to the log ---

    async def _commit_for_ever(self) -> None:
        while True:
            await self._to_commit.wait()
            await self._commit()

    async def _commit(self) -> None:
        """Commit all that is settled, in as many tries as it takes."""
        async with self._committing:
            self._to_commit.clear()
            settled, self._settled = self._settled, []
            try:
                await self._commit_until_taken(settled)
            except asyncio.CancelledError:
                self._settled = settled + self._settled
                raise

    async def _commit_until_taken(self, settled: list[_Work]) -> None:
        while settled or self._dirty:
            settled = [work for work in settled if self._owns(work)]
            try:
                await self._write(settled)
            except PayloadTooLargeError as fault:
                settled = await self._write_singly(settled, fault)
            except HeadraceError as fault:
                if not fault.retriable:
                    raise
                _log.warning("cannot commit, will try again: %s", fault)
                await self._clock.sleep(COMMIT_PAUSE)
            else:
                return

    async def _write(self, settled: list[_Work]) -> None:
        """One transaction: the answers, and the progress of every partition that changed."""
        finished: dict[Partition, set[int]] = {partition: set() for partition in self._dirty}
        for work in settled:
            finished.setdefault(work.partition, set()).add(work.record.offset)
        ledgers = {partition: self._ledgers[partition] for partition in finished if partition in self._ledgers}
        self._dirty -= finished.keys()
        try:
            await self._log.commit(
                [record for work in settled if work.outcome for record in work.outcome.records],
                {partition: ledger.progress(finished[partition]) for partition, ledger in ledgers.items()},
            )
        except BaseException:
            self._dirty |= finished.keys() & self._ledgers.keys()
            raise
        for partition, ledger in ledgers.items():
            ledger.complete(finished[partition])
        for work in settled:
            if work.outcome:
                work.outcome.close()

    async def _write_singly(self, settled: list[_Work], fault: PayloadTooLargeError) -> list[_Work]:
        """Find the answers that are over their topic's limit: they come back as failures, the others are written."""
        if len(settled) > 1:
            return [work for work in settled if not await self._fits(work)]
        _log.warning("an answer is not written: %s", fault)
        await self._clock.sleep(COMMIT_PAUSE)  # where even the dead letter is too large, the partition waits
        return [self._fail_too_large(work, fault) for work in settled]

    async def _fits(self, work: _Work) -> bool:
        try:
            await self._write([work])
        except PayloadTooLargeError as fault:
            self._fail_too_large(work, fault)
            return False
        return True

    def _fail_too_large(self, work: _Work, fault: PayloadTooLargeError) -> _Work:
        assert work.outcome is not None
        work.outcome = self._settler.too_large(work.outcome, fault)
        return work

    async def _drain(self, partitions: AbstractSet[Partition]) -> None:
        """Let the sink finish what it has in hand, and commit; what only waits is given up: others read it again."""
        tasks = {work.task for work in self._work if work.task and work.partition in partitions}
        for waiting in tasks - self._courier.under_way:
            waiting.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._commit(), timeout=self._settings.drain)
