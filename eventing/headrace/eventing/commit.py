"""From settled events to the log: what is written together, how often it is tried, and what became of a try.

The invariant that all rests on: an offset is marked done only together with the records that answer it, in one
transaction. So an event is lost by nothing that dies, and answered twice by nothing that comes back.

A try whose answer was lost (the broker died after it had decided, the wait for it was given up) may have been written
or not. It is remembered, and before anything else is written the log is asked what the group's progress is: progress
travels in the same transaction, and no two tries have the same, so it tells.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError, PayloadTooLargeError, TakenOverError
from headrace.eventing.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.eventing.clock import Clock
    from headrace.eventing.ledger import Ledger
    from headrace.eventing.log import Committed, EventLog, Partition
    from headrace.eventing.outcome import Outcome

_log = logging.getLogger(__name__)
PAUSE = 1.0
"""Seconds between two tries to commit while the log does not take it; a partition waits, it never skips."""


@dataclass(frozen=True, slots=True)
class _Try:
    """One transaction, as it was handed to the log."""

    settled: tuple[Work, ...]
    finished: Mapping[Partition, AbstractSet[int]]
    ledgers: Mapping[Partition, Ledger]
    progress: Mapping[Partition, Committed]

    def conclude(self, written: Callable[[Work], None]) -> None:
        """It is written: keep that in the ledgers, and tell."""
        for partition, ledger in self.ledgers.items():
            ledger.complete(self.finished[partition])
        for work in self.settled:
            work.written = True
            written(work)


class Committer:
    """Writes what is settled; owned by the dispatcher's event loop.

    Args:
        log: Where answers and progress go.
        ledgers: The partitions that are ours now, kept by the dispatcher.
        clock: Time.
        too_large: The outcome in place of one that no topic takes.
        written: Told of every event whose answer and progress are in the log.
    """

    def __init__(
        self,
        log: EventLog,
        ledgers: Mapping[Partition, Ledger],
        clock: Clock,
        too_large: Callable[[Outcome, PayloadTooLargeError], Outcome],
        written: Callable[[Work], None] = Work.close,
    ) -> None:
        self._log = log
        self._ledgers = ledgers
        self._clock = clock
        self._too_large = too_large
        self._written = written
        self._settled: list[Work] = []
        self._dirty: set[Partition] = set()
        """Partitions whose progress changed though nothing of theirs was finished: an attempt failed."""
        self._doubt: _Try | None = None
        self._ended: HeadraceError | None = None
        """Why nothing may be written any more."""
        self._wanted = asyncio.Event()
        self._committing = asyncio.Lock()

    def settle(self, work: Work) -> None:
        """An event has its outcome: write it with the next transaction."""
        self._settled.append(work)
        self._wanted.set()

    def touch(self, partition: Partition) -> None:
        """A partition's attempts have changed: persist them with the next transaction."""
        self._dirty.add(partition)
        self._wanted.set()

    def forget(self, partitions: AbstractSet[Partition]) -> None:
        """These partitions are not ours any more: commit nothing of theirs."""
        self._dirty -= partitions
        self._settled = [work for work in self._settled if work.partition not in partitions]

    async def run(self) -> None:
        """Commit whenever there is something to, until cancelled.

        Raises:
            TakenOverError: a later life of this member has begun.
        """
        while True:
            await self._wanted.wait()
            await self.commit()

    async def commit(self) -> None:
        """Commit all that is settled, in as many tries as it takes.

        Raises:
            TakenOverError: a later life of this member has begun, now or at an earlier call: to write once more would
                fence it.
        """
        async with self._committing:
            if self._ended:
                raise self._ended
            self._wanted.clear()
            settled, self._settled = self._settled, []
            try:
                await self._until_taken(settled)
            except asyncio.CancelledError:
                self._settled = [work for work in settled if not work.written] + self._settled
                self._wanted.set()
                raise

    async def _until_taken(self, settled: list[Work]) -> None:
        while settled or self._dirty or self._doubt:
            try:
                await self._resolve()
                settled = [work for work in settled if not work.written and work.is_among(self._ledgers)]
                await self._write(settled)
            except PayloadTooLargeError as fault:
                settled = await self._write_singly(settled, fault)
            except HeadraceError as fault:
                if not fault.retriable:
                    self._ended = fault
                    raise
                _log.warning("cannot commit, will try again: %s", fault)
                await self._clock.sleep(PAUSE)
            else:
                return

    async def _resolve(self) -> None:
        """Find out what became of a try whose answer was lost."""
        if not (doubt := self._doubt):
            return
        known = await self._log.committed(doubt.progress.keys())
        # One is enough, the transaction is whole; others may have gone on under another member in the meantime.
        if any(known.get(partition) == progress for partition, progress in doubt.progress.items()):
            _log.info("a commit whose answer was lost had been written: %d events", len(doubt.settled))
            doubt.conclude(self._written)
        self._doubt = None

    async def _write(self, settled: Sequence[Work]) -> None:
        """One transaction: the answers, and the progress of every partition that changed."""
        attempt = self._prepare([work for work in settled if work.is_among(self._ledgers)])
        if not attempt.progress:
            return
        records = [record for work in attempt.settled if work.outcome for record in work.outcome.records]
        self._doubt = attempt
        try:
            await self._log.commit(records, attempt.progress)
        except BaseException as fault:
            self._dirty |= attempt.ledgers.keys() & self._ledgers.keys()
            if isinstance(fault, (PayloadTooLargeError, TakenOverError)):
                self._doubt = None  # the log says that nothing was written
            raise
        self._doubt = None
        attempt.conclude(self._written)

    def _prepare(self, settled: Sequence[Work]) -> _Try:
        finished: dict[Partition, set[int]] = {partition: set() for partition in self._dirty}
        for work in settled:
            finished.setdefault(work.partition, set()).add(work.record.offset)
        ledgers = {partition: self._ledgers[partition] for partition in finished if partition in self._ledgers}
        self._dirty -= finished.keys()
        progress = {partition: ledger.progress(finished[partition]) for partition, ledger in ledgers.items()}
        return _Try(tuple(settled), finished, ledgers, progress)

    async def _write_singly(self, settled: list[Work], fault: PayloadTooLargeError) -> list[Work]:
        """Find the answers that are over their topic's limit: they come back as failures, the others are written."""
        if len(settled) > 1:
            return [work for work in settled if not await self._fits(work)]
        _log.warning("an answer is not written: %s", fault)
        await self._clock.sleep(PAUSE)  # where even the dead letter is too large, the partition waits
        return [self._fail(work, fault) for work in settled]

    async def _fits(self, work: Work) -> bool:
        try:
            await self._write([work])
        except PayloadTooLargeError as fault:
            self._fail(work, fault)
            return False
        return True

    def _fail(self, work: Work, fault: PayloadTooLargeError) -> Work:
        assert work.outcome is not None
        work.outcome = self._too_large(work.outcome, fault)
        return work
