"""From settled events to the log: what is written together, how often it is tried, and what became of a try.

The invariant that all rests on: an offset is marked done only together with the records that answer it, in one
transaction. So an event is lost by nothing that dies, and answered twice by nothing that comes back.

A try whose answer was lost (the broker died after it had decided, the wait for it was given up) may have been written
or not. It is remembered, and before anything else is written the log is asked what the group's progress is: progress
travels in the same transaction, and where a try changes it, it tells.

A dead letter that its topic refuses is set aside and tried again for ever: its offset is not done, its partition waits,
and all others go on.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError, PayloadTooLargeError, TakenOverError
from headrace.eventing.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.eventing.clock import Clock
    from headrace.eventing.ledger import Ledger
    from headrace.eventing.log import Committed, EventLog, Partition
    from headrace.eventing.outcome import Outcome

_log = logging.getLogger(__name__)
PAUSE = 1.0
"""Seconds between two tries to commit while the log does not take it; a partition waits, it never skips."""
LONGEST_PAUSE = 30.0
"""The same for dead letters that are refused: at first so long, then doubled up to this."""


@dataclass(frozen=True, slots=True)
class _Try:
    """One transaction, as it was handed to the log."""

    settled: tuple[Work, ...]
    finished: Mapping[Partition, AbstractSet[int]]
    ledgers: Mapping[Partition, Ledger]
    progress: Mapping[Partition, Committed]
    telling: AbstractSet[Partition]
    """Partitions whose progress is another than what was committed before: only theirs can tell that this is written.
    Some have none: what was to be finished of theirs has been set aside since."""

    def conclude(self, written: Callable[[Work], None]) -> None:
        """It is written: keep that in the ledgers, and tell."""
        for partition, ledger in self.ledgers.items():
            ledger.complete(self.finished[partition])
            ledger.committed = self.progress[partition]
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
        on_refusal: Told how many dead letters were refused just now.
    """

    def __init__(
        self,
        log: EventLog,
        ledgers: Mapping[Partition, Ledger],
        clock: Clock,
        too_large: Callable[[Outcome, PayloadTooLargeError], Outcome],
        written: Callable[[Work], None] = Work.close,
        *,
        on_refusal: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._ledgers = ledgers
        self._clock = clock
        self._too_large = too_large
        self._written = written
        self._on_refusal = on_refusal
        self._settled: list[Work] = []
        self._dirty: set[Partition] = set()
        """Partitions whose progress changed though nothing of theirs was finished: an attempt failed."""
        self._writing: list[Work] = []
        self._refused: list[Work] = []
        """Dead letters that their topic does not take."""
        self._patience = 0.0
        self._retry_at = 0.0
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
        self._refused = [work for work in self._refused if work.partition not in partitions]

    @property
    def stuck(self) -> AbstractSet[Partition]:
        """Partitions that wait for a dead letter to be taken: nothing new of theirs may begin."""
        return {work.partition for work in self._refused}

    @property
    def held_bytes(self) -> int:
        """Bytes of records that have their answer and are not written."""
        return sum(work.size for held in (self._settled, self._writing, self._refused) for work in held)

    async def run(self) -> None:
        """Commit whenever there is something to, until cancelled.

        Raises:
            TakenOverError: a later life of this member has begun.
        """
        while True:
            await self._work_to_do()
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
            self._writing, self._settled = self._settled, []
            try:
                await self._until_taken(self._writing)
                if self._refused and self._clock.monotonic() >= self._retry_at:
                    await self._try_letters()
            except asyncio.CancelledError:
                aside = set(self._refused)
                self._settled = [w for w in self._writing if not w.written and w not in aside] + self._settled
                self._wanted.set()
                raise
            finally:
                self._writing = []

    async def _work_to_do(self) -> None:
        """Wait until something is settled, or refused letters may be tried again."""
        if not self._refused:
            await self._wanted.wait()
            return
        waits: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(self._wanted.wait()),
            asyncio.ensure_future(self._clock.sleep(max(0.0, self._retry_at - self._clock.monotonic()))),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _until_taken(self, settled: list[Work]) -> None:
        while settled or self._dirty or self._doubt:
            try:
                settled = await self._advance(settled)
            except HeadraceError as fault:
                settled = self._left(settled)
                if not isinstance(fault, TakenOverError) and await self._goes_without_letters(settled):
                    settled = [work for work in settled if not work.is_letter]
                    continue
                if not fault.retriable:
                    self._ended = fault
                    raise
                _log.warning("cannot commit, will try again: %s", fault)
                await self._clock.sleep(PAUSE)

    async def _advance(self, settled: list[Work]) -> list[Work]:
        """One try; what is left to write after it."""
        await self._resolve()
        settled = self._left(settled)
        try:
            await self._write(settled)
        except PayloadTooLargeError as fault:
            if len(settled) > 1:
                return [work for work in settled if not await self._fits(work)]
            return [work for work in settled if self._fail(work, fault)]
        return []

    async def _goes_without_letters(self, settled: Sequence[Work]) -> bool:
        """Whether the log takes everything but the dead letters: they are set aside then, and all else is written."""
        letters = [work for work in settled if work.is_letter]
        if not letters:
            return False
        try:
            await self._resolve()  # which may find that some of these are written
            # With the partitions of the letters in it, whose progress is written anew: it says that the log works.
            await self._write([work for work in self._left(settled) if not work.is_letter])
        except TakenOverError as ended:
            self._ended = ended
            raise
        except HeadraceError:
            return False
        # The log may have been away for that one moment: only letters that it refuses while it takes all else wait.
        try:
            await self._write(self._left(letters))
        except TakenOverError as ended:
            self._ended = ended
            raise
        except HeadraceError as refusal:
            self._set_aside(self._left(letters), refusal)
        return True

    def _set_aside(self, letters: Sequence[Work], fault: HeadraceError) -> None:
        """Dead letters that their topic refuses: they are tried again later, and their partitions wait for them."""
        if not letters:
            return
        self._refused += letters
        self._patience = min(self._patience * 2, LONGEST_PAUSE) if self._patience else PAUSE
        self._retry_at = self._clock.monotonic() + self._patience
        self._on_refusal(len(letters))
        where = ", ".join(sorted({f"{p.topic}/{p.number}" for p in self.stuck}))
        _log.error("%d dead letters are refused; %s waits for them: %s", len(self._refused), where, fault)

    async def _try_letters(self) -> None:
        """Write the letters that were refused, one by one, until one is refused again."""
        while self._refused:
            letter = self._refused.pop(0)
            try:
                await self._resolve()
                await self._write(self._left([letter]))
            except TakenOverError as fault:
                self._ended = fault
                raise
            except HeadraceError as fault:
                self._set_aside(self._left([letter]), fault)  # behind the others, which may be smaller
                return
            except BaseException:
                self._refused.insert(0, letter)
                raise
        self._patience = 0.0
        _log.info("the dead letters are written; their partitions go on")

    def _left(self, settled: Iterable[Work]) -> list[Work]:
        """What is ours still, and not written."""
        return [work for work in settled if not work.written and work.is_among(self._ledgers)]

    async def _resolve(self) -> None:
        """Find out what became of a try whose answer was lost."""
        if not (doubt := self._doubt):
            return
        known = await self._log.committed(doubt.progress.keys())
        # One is enough, the transaction is whole. One that is still ours: another member that had a partition since may
        # have gone on, or have come to the very same progress by answering the same events itself.
        ours = {p for p in doubt.telling if self._ledgers.get(p) is doubt.ledgers[p]}
        if any(known.get(partition) == doubt.progress[partition] for partition in ours):
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
        telling = {partition for partition, ledger in ledgers.items() if progress[partition] != ledger.committed}
        return _Try(tuple(settled), finished, ledgers, progress, telling)

    async def _fits(self, work: Work) -> bool:
        """Whether nothing of this one is left: it is written, or set aside."""
        try:
            await self._write([work])
        except PayloadTooLargeError as fault:
            return not self._fail(work, fault)
        return True

    def _fail(self, work: Work, fault: PayloadTooLargeError) -> bool:
        """Put a failure in the place of an answer that is over its topic's limit; False for one that is a failure."""
        assert work.outcome is not None
        if work.is_letter:
            self._set_aside([work], fault)
            return False
        _log.warning("an answer is not written: %s", fault)
        work.outcome = self._too_large(work.outcome, fault)
        return True
