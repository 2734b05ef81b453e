"""Transactions (KIP-98, KIP-360, KIP-447): who may write, and how one ends.

Ending one takes three steps: the decision (one journal entry), a marker in each partition, the end (one journal
entry, which brings the offsets into force). A crash after the decision is completed at start, one before it leaves
the transaction open, for its producer to go on with or for a newer instance to abort. A reader sees all or nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.ledger import Committed, Decision, Ledger, TopicPartition, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.local.broker.log import PartitionLog
    from headrace.local.broker.settings import BrokerSettings
    from headrace.local.broker.topics import Catalogue

logger = logging.getLogger(__name__)
_LAST_EPOCH = 32_766
"""An epoch is an int16, and one more must fit for fencing: after this, a new producer id is given."""
RETRY_AFTER = 1.0
"""Seconds after which a decided transaction is completed anew, when the disk was full."""


class Transactions:
    """The transaction coordinator.

    Args:
        catalogue: Where the partitions' logs are.
        ledger: Where the transactions are kept.
        settings: The longest timeout.
        checkpoint: Called with the name of each step while one takes offsets or ends; tests end the process there.
    """

    def __init__(
        self, catalogue: Catalogue, ledger: Ledger, settings: BrokerSettings, checkpoint: Callable[[str], None]
    ) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._settings = settings
        self._checkpoint = checkpoint
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def recover(self) -> None:
        """Complete what was decided, and abort what nobody can end; call once, in the event loop."""
        claimed: dict[int, set[TopicPartition]] = {}
        for one in list(self._ledger.transactions.values()):
            if one.decision is not None:
                self._complete_or_retry(one.id)
            elif one.is_open:
                self._arm(one)
                claimed[one.producer_id] = one.partitions
            if (left := self._ledger.transactions[one.id]).decision is not None:
                claimed[one.producer_id] = left.partitions
        for topic in self._catalogue:
            for index, log in enumerate(topic.partitions):
                for producer_id in list(log.open_transactions):
                    if (topic.name, index) not in claimed.get(producer_id, ()):
                        _abort_orphan(log, producer_id, f"{topic.name}-{index}")

    def identify(self, transactional_id: str, timeout: int, producer_id: int, epoch: int) -> tuple[int, int]:
        """Give a producer its id and epoch; an open transaction of the same transactional id is aborted.

        Args:
            transactional_id: The producer's.
            timeout: Milliseconds that a transaction may be open.
            producer_id: What the producer has already, when it only wants a higher epoch (KIP-360); -1 otherwise.
            epoch: Its epoch then.

        Raises:
            Refusal: the timeout is not allowed, a newer instance has taken over, or the disk is full.
        """
        if not transactional_id:
            raise Refusal(Code.INVALID_REQUEST, "A transactional id is not empty")
        if not 0 < timeout <= self._settings.max_transaction_timeout:
            raise Refusal(
                Code.INVALID_TRANSACTION_TIMEOUT,
                f"transaction.timeout.ms is 1 to {self._settings.max_transaction_timeout}, not {timeout}",
            )
        known = self._ledger.transactions.get(transactional_id)
        if known is None:
            given = self._ledger.identify(transactional_id, self._ledger.new_producer_id(), 0, timeout)
            return given.producer_id, given.epoch
        former = (producer_id, epoch) if producer_id >= 0 else None
        if former is not None and former != (known.producer_id, known.epoch):
            return self._given_before(known, former)
        if known.decision is not None:
            self._complete(transactional_id)
        elif known.is_open:
            self._end(known, Decision(commit=False, epoch=known.epoch + 1, former=former))
        known = self._ledger.transactions[transactional_id]
        given_id, given_epoch = known.producer_id, known.epoch + 1
        if given_epoch > _LAST_EPOCH:
            given_id, given_epoch = self._ledger.new_producer_id(), 0
        given = self._ledger.identify(transactional_id, given_id, given_epoch, timeout, former)
        return given.producer_id, given.epoch

    def _given_before(self, known: Transaction, former: tuple[int, int]) -> tuple[int, int]:
        """What a producer got in exchange for these, when its answer was lost and it asks again."""
        if known.decision is not None and known.decision.former == former:
            self._complete(known.id)
            known = self._ledger.transactions[known.id]
        if known.former != former or known.is_open:
            raise Refusal(Code.PRODUCER_FENCED, "A newer instance of this producer has taken over")
        return known.producer_id, known.epoch

    def check_write(self, transactional_id: str, producer_id: int, epoch: int, partition: TopicPartition) -> None:
        """Check that a producer may write to a partition in its transaction.

        Raises:
            Refusal: another instance has taken over, or the partition was not added.
        """
        one = self._checked(transactional_id, producer_id, epoch)
        if one.decision is not None or partition not in one.partitions:
            raise Refusal(Code.INVALID_TXN_STATE, "The partition is not part of an open transaction")

    def add_partitions(
        self, transactional_id: str, producer_id: int, epoch: int, partitions: Iterable[TopicPartition]
    ) -> None:
        """Make partitions part of the transaction; the first ones open it.

        Raises:
            Refusal: another instance has taken over, one is just ending, or the disk is full.
        """
        one = self._undecided(transactional_id, producer_id, epoch)
        new = [partition for partition in partitions if partition not in one.partitions]
        if new:
            self._ledger.add_partitions(transactional_id, new)
            self._arm(one)

    def add_group(self, transactional_id: str, producer_id: int, epoch: int, group: str) -> None:
        """Make a group's offsets part of the transaction.

        Raises:
            Refusal: as :meth:`add_partitions`.
        """
        one = self._undecided(transactional_id, producer_id, epoch)
        if group not in one.groups:
            self._ledger.add_group(transactional_id, group)
            self._arm(one)

    def add_offsets(
        self, transactional_id: str, producer_id: int, epoch: int, group: str, offsets: dict[TopicPartition, Committed]
    ) -> None:
        """Add offsets that are committed together with the transaction.

        Raises:
            Refusal: as :meth:`add_partitions`, or the group was not added.
        """
        one = self._undecided(transactional_id, producer_id, epoch)
        if group not in one.groups:
            raise Refusal(Code.INVALID_TXN_STATE, f"Group '{group}' is not part of the transaction")
        self._checkpoint("offsets asked")
        if offsets:
            self._ledger.add_offsets(transactional_id, group, offsets)
        self._checkpoint("offsets added")

    def end(self, transactional_id: str, producer_id: int, epoch: int, *, commit: bool) -> None:
        """Commit or abort the transaction.

        Raises:
            Refusal: another instance has taken over, none is open, or the disk is full; where it was decided
                already, it is completed as soon as there is room.
        """
        one = self._checked(transactional_id, producer_id, epoch)
        if one.decision is not None:
            if one.decision.commit != commit:
                raise Refusal(Code.INVALID_TXN_STATE, "The transaction is decided otherwise")
            self._complete(transactional_id)
        elif one.is_open:
            self._end(one, Decision(commit, one.epoch))
        elif one.last != commit:
            raise Refusal(Code.INVALID_TXN_STATE, "No transaction is open")

    def close(self) -> None:
        """Stop the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _checked(self, transactional_id: str, producer_id: int, epoch: int) -> Transaction:
        one = self._ledger.transactions.get(transactional_id)
        if one is None or one.producer_id != producer_id:
            raise Refusal(Code.INVALID_PRODUCER_ID_MAPPING)
        if epoch != one.epoch:
            raise Refusal(Code.PRODUCER_FENCED, "A newer instance of this producer has taken over")
        return one

    def _undecided(self, transactional_id: str, producer_id: int, epoch: int) -> Transaction:
        one = self._checked(transactional_id, producer_id, epoch)
        if one.decision is not None:
            raise Refusal(Code.CONCURRENT_TRANSACTIONS)
        return one

    def _end(self, one: Transaction, decision: Decision) -> None:
        self._checkpoint("end asked")
        self._ledger.decide(one.id, decision)
        self._disarm(one.id)
        self._checkpoint("decided")
        try:
            self._complete(one.id)
        except Refusal:
            self._retry_later(one.id)
            raise

    def _complete(self, transactional_id: str) -> None:
        """Write the markers of a decided transaction and close it; safe to do again."""
        one = self._ledger.transactions[transactional_id]
        decision = one.decision
        if decision is None:
            return
        for topic, partition in sorted(one.partitions):
            try:
                log = self._catalogue.log(topic, partition)
            except Refusal:
                continue  # deleted in the meantime
            try:
                log.end_transaction(one.producer_id, decision.epoch, commit=decision.commit)
            except Refusal as full:
                raise Refusal(Code.CONCURRENT_TRANSACTIONS, full.message) from full
            self._checkpoint("marker")
        self._ledger.finish(transactional_id)
        self._checkpoint("done")

    def _complete_or_retry(self, transactional_id: str) -> None:
        try:
            self._complete(transactional_id)
        except Refusal as full:
            logger.warning("Transaction '%s' is decided and waits for room: %s", transactional_id, full)
            self._retry_later(transactional_id)

    def _retry_later(self, transactional_id: str) -> None:
        loop = asyncio.get_running_loop()
        self._disarm(transactional_id)
        self._timers[transactional_id] = loop.call_later(RETRY_AFTER, self._complete_or_retry, transactional_id)

    def _arm(self, one: Transaction) -> None:
        if one.id not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[one.id] = loop.call_later(one.timeout / 1000, self._expire, one.id)

    def _disarm(self, transactional_id: str) -> None:
        timer = self._timers.pop(transactional_id, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, transactional_id: str) -> None:
        self._timers.pop(transactional_id, None)
        one = self._ledger.transactions[transactional_id]
        if one.decision is not None or not one.is_open:
            return
        logger.warning("Transaction '%s' is aborted: open for more than %d ms", transactional_id, one.timeout)
        try:
            self._end(one, Decision(commit=False, epoch=one.epoch + 1))
        except Refusal as full:
            logger.warning("Transaction '%s' waits for room: %s", transactional_id, full)


def _abort_orphan(log: PartitionLog, producer_id: int, name: str) -> None:
    """Abort a transaction that the journal does not know (a power cut took its entry): readers must not wait."""
    logger.warning("%s: a transaction of producer %d belongs to no one and is aborted", name, producer_id)
    try:
        log.end_transaction(producer_id, 0, commit=False)
    except Refusal as full:
        logger.warning("%s: it stays open: %s", name, full)
