"""What becomes of a try to commit that is given up: the log may have taken it all the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from opentelemetry.context import Context

from headrace.errors import UnavailableError
from headrace.eventing.codec.kafka import read_record, write_record
from headrace.eventing.commit import Committer
from headrace.eventing.event import new_event
from headrace.eventing.ledger import Ledger
from headrace.eventing.log import Committed, OutgoingRecord, Partition, Record
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.outcome import Outcome
from headrace.eventing.work import Work
from headrace.testing.clock import InstantClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.errors import PayloadTooLargeError
    from headrace.eventing.event import CloudEvent

HERE = Partition("in", 0)


class SilentLog(MemoryLog):
    """A log that never answers its first commit, which it has taken or not."""

    taken = True
    silent = True

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Take it, and say nothing."""
        if not self.silent or self.taken:
            await super().commit(records, done)
        if self.silent:
            self.silent = False
            await asyncio.Event().wait()


def an_event(identifier: str) -> CloudEvent:
    """An event without data."""
    return new_event({"specversion": "1.0", "id": identifier, "source": "/s", "type": "t"})


def answered(record: Record, ledger: Ledger) -> Work:
    """A record in work with one answer."""
    event = read_record(record, namespace="", name="")
    work = Work(record, ledger, None)
    work.outcome = Outcome(record, event, (write_record(event, "out", trace={}),), (), Context())
    return work


def unchanged(outcome: Outcome, _: PayloadTooLargeError) -> Outcome:
    """Nothing is too large here."""
    return outcome


@pytest.mark.parametrize("taken", [True, False])
def test_a_commit_that_nobody_waited_for_is_neither_lost_nor_written_twice(*, taken: bool) -> None:
    """A revocation's deadline cuts the wait, not the write: the next commit asks first, and writes what is missing."""

    async def run() -> tuple[MemoryBroker, Ledger]:
        broker, ledger = MemoryBroker(), Ledger()
        log = SilentLog(broker, "in")
        log.taken = taken
        committer = Committer(log, {HERE: ledger}, InstantClock(), unchanged)
        for number in range(2):
            record = broker.append(write_record(an_event(str(number)), "in", trace={}))
            ledger.admit(record.offset)
            committer.settle(answered(record, ledger))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(committer.commit(), 0.05)
        await committer.commit()
        return broker, ledger

    broker, ledger = asyncio.run(run())
    assert [read_record(r, namespace="", name="").id for r in broker.records("out")] == ["0", "1"]
    assert broker.committed[HERE].offset == 2
    assert ledger.open == 0


def test_another_member_s_progress_is_not_taken_for_ours() -> None:
    """A partition that went: its new member came to the same progress by itself; what stays ours is written still."""
    there = Partition("in", 1)

    async def run() -> MemoryBroker:
        broker = MemoryBroker(partitions=2)
        ledgers = {HERE: Ledger(), there: Ledger()}
        log = SilentLog(broker, "in")
        log.taken = False
        committer = Committer(log, ledgers, InstantClock(), unchanged)
        for number, partition in enumerate((HERE, there)):
            written = write_record(an_event(str(number)), "in", trace={})
            record = Record(partition, 0, -1, None, None, written.headers)
            ledgers[partition].admit(0)
            committer.settle(answered(record, ledgers[partition]))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(committer.commit(), 0.05)
        del ledgers[there]
        committer.forget({there})
        broker.committed[there] = Committed(1)
        await committer.commit()
        return broker

    broker = asyncio.run(run())
    assert [read_record(r, namespace="", name="").id for r in broker.records("out")] == ["0"], "ours, once"
    assert broker.committed[HERE] == Committed(1)


def test_progress_that_does_not_change_tells_nothing() -> None:
    """A try that nobody took held a partition whose progress was written before: the answer of another is not lost."""
    there = Partition("in", 1)

    async def run() -> MemoryBroker:
        broker = MemoryBroker(partitions=2)
        broker.committed[there] = Committed(3)
        ledgers = {HERE: Ledger(), there: Ledger(Committed(3))}
        log = SilentLog(broker, "in")
        log.taken = False
        committer = Committer(log, ledgers, InstantClock(), unchanged)
        record = broker.append(write_record(an_event("0"), "in", trace={}))
        ledgers[HERE].admit(record.offset)
        committer.settle(answered(record, ledgers[HERE]))
        committer.touch(there)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(committer.commit(), 0.05)
        await committer.commit()
        return broker

    broker = asyncio.run(run())
    assert [read_record(r, namespace="", name="").id for r in broker.records("out")] == ["0"]
    assert broker.committed == {HERE: Committed(1), there: Committed(3)}


class ForgetfulLog(MemoryLog):
    """A log that takes its first commit and says that it is away."""

    away = True

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Take it."""
        await super().commit(records, done)
        if self.away:
            self.away = False
            raise UnavailableError("away")


def test_a_dead_letter_has_no_answer_beside_it_written_twice() -> None:
    """A commit that was taken, and said not to be, held a letter: that it is tried without it writes nothing again."""

    async def run() -> MemoryBroker:
        broker, ledger = MemoryBroker(), Ledger()
        committer = Committer(ForgetfulLog(broker, "in"), {HERE: ledger}, InstantClock(), unchanged)
        for number in range(2):
            record = broker.append(write_record(an_event(str(number)), "in", trace={}))
            ledger.admit(record.offset)
            work = answered(record, ledger)
            if number and work.outcome:
                work.outcome = replace(work.outcome, ending="dead_letter")
            committer.settle(work)
        await committer.commit()
        return broker

    broker = asyncio.run(run())
    assert [read_record(r, namespace="", name="").id for r in broker.records("out")] == ["0", "1"]
    assert broker.committed == {HERE: Committed(2)}
