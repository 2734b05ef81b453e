"""What must be durable beside the records: committed offsets, producer ids, and transactions.

Owns the journal. A change is written first and applied after, by the same code that replays the journal at start:
so what is seen is what a crash would leave. One entry is one step, whatever it holds; the decision about a
transaction is one entry, and so are its offsets.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.journal import Entry, Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from headrace.local.broker.disk import AppendFile

logger = logging.getLogger(__name__)
COMPACT_AT = 64 * 1024 * 1024
"""Bytes of the journal above which it is rewritten while the broker runs."""
_PRODUCER_BLOCK = 1000
"""Producer ids that one entry reserves: a crash skips the rest of them."""

STATES = {"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}
"""States of a transaction, by the names that clients are told."""

TopicPartition = tuple[str, int]
Former = tuple[int, int] | None
"""Producer id and epoch that a producer gave in exchange for newer ones (KIP-360)."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A group's position in one partition."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """How a transaction ends."""

    commit: bool
    epoch: int
    """Epoch of the end markers, and of the producer from then on: above its own where the broker fences it."""
    former: Former = None
    """Set when the producer itself asked for a higher epoch, which ended the transaction."""


@dataclass(slots=True)
class Transaction:
    """One transactional id, and its transaction where one is open."""

    id: str
    producer_id: int
    epoch: int
    timeout: int
    """Milliseconds after which an open transaction is aborted."""
    partitions: set[TopicPartition] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    offsets: dict[str, dict[TopicPartition, Committed]] = field(default_factory=dict)
    """Offsets that come into force with the commit, by group."""
    decision: Decision | None = None
    """Set from the decision until every marker is written."""
    last: bool | None = None
    """How the one before ended: the same EndTxn again is answered the same."""
    former: Former = None
    """What id and epoch were given in exchange for: the same exchange asked again gives the same."""

    @property
    def state(self) -> str:
        """The state, by the name that clients are told."""
        if self.decision is not None:
            return "PrepareCommit" if self.decision.commit else "PrepareAbort"
        if self.is_open:
            return "Ongoing"
        return {None: "Empty", True: "CompleteCommit", False: "CompleteAbort"}[self.last]

    @property
    def is_open(self) -> bool:
        """Whether there is something to commit or abort."""
        return bool(self.partitions or self.groups or self.offsets)


class Ledger:
    """The durable state of groups and transactions.

    Args:
        path: The journal file.
        flush: Whether each change waits for the disk.

    Raises:
        ConfigurationError: the journal holds what this version does not know.
    """

    def __init__(self, path: Path, *, flush: bool = False) -> None:
        self.offsets: dict[str, dict[TopicPartition, Committed]] = {}
        """Committed offsets by group; a group without any is not in it."""
        self.transactions: dict[str, Transaction] = {}
        self.starts = 0
        """How often this folder was opened, this time among them."""
        self._next_producer = 0
        self._reserved = 0
        self._appliers: dict[str, Callable[..., None]] = {
            "offsets": self._apply_offsets,
            "forget": self._apply_forget,
            "producers": self._apply_producers,
            "starts": self._apply_starts,
            "identity": self._apply_identity,
            "partitions": self._apply_partitions,
            "group": self._apply_group,
            "pending": self._apply_pending,
            "decision": self._apply_decision,
            "done": self._apply_done,
        }
        self._journal = Journal(path, flush=flush)
        try:
            for entry in self._journal.recover():
                self._apply(entry)
        except (KeyError, TypeError, ValueError) as fault:
            raise ConfigurationError(
                f"The broker's journal {path} has an entry that this version cannot read: {fault!r}",
                hint="put a copy back, or name another folder with --data",
            ) from fault
        # Ids that the last run reserved and did not give are skipped.
        self._next_producer = self._reserved
        self.starts += 1
        self._compact()
        self._compact_at = max(COMPACT_AT, 2 * self._journal.size)

    def commit_offsets(self, group: str, offsets: dict[TopicPartition, Committed]) -> None:
        """Commit positions of a group, all or none.

        Raises:
            Refusal: the disk is full.
        """
        self._record(["offsets", group, _rows(offsets)])

    def forget_offsets(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Remove positions of a group; the group is gone with its last one.

        Raises:
            Refusal: the disk is full.
        """
        self._record(["forget", group, [list(one) for one in partitions]])

    def forget_topic(self, topic: str) -> None:
        """Remove the positions of every group in a topic that was deleted.

        Raises:
            Refusal: the disk is full.
        """
        for group, offsets in list(self.offsets.items()):
            gone = [one for one in offsets if one[0] == topic]
            if gone:
                self.forget_offsets(group, gone)

    def new_producer_id(self) -> int:
        """A producer id that was never given before.

        Raises:
            Refusal: the disk is full.
        """
        if self._next_producer >= self._reserved:
            self._record(["producers", self._next_producer + _PRODUCER_BLOCK])
        self._next_producer += 1
        return self._next_producer - 1

    def identify(
        self, transactional_id: str, producer_id: int, epoch: int, timeout: int, former: Former = None
    ) -> Transaction:
        """Give a transactional id its producer id and epoch.

        Raises:
            Refusal: the disk is full.
        """
        self._record(["identity", transactional_id, producer_id, epoch, timeout, None, former])
        return self.transactions[transactional_id]

    def add_partitions(self, transactional_id: str, partitions: Iterable[TopicPartition]) -> None:
        """Make partitions part of the open transaction.

        Raises:
            Refusal: the disk is full.
        """
        self._record(["partitions", transactional_id, [list(one) for one in partitions]])

    def add_group(self, transactional_id: str, group: str) -> None:
        """Make a group's offsets part of the open transaction.

        Raises:
            Refusal: the disk is full.
        """
        self._record(["group", transactional_id, group])

    def add_offsets(self, transactional_id: str, group: str, offsets: dict[TopicPartition, Committed]) -> None:
        """Add offsets that come into force when the open transaction commits.

        Raises:
            Refusal: the disk is full.
        """
        self._record(["pending", transactional_id, group, _rows(offsets)])

    def decide(self, transactional_id: str, decision: Decision) -> None:
        """Decide how the open transaction ends: from here on it ends so, whatever happens.

        Raises:
            Refusal: the disk is full, nothing is decided.
        """
        self._record(["decision", transactional_id, decision.commit, decision.epoch, decision.former])

    def finish(self, transactional_id: str) -> None:
        """Close a decided transaction whose markers are all written; its offsets come into force.

        Raises:
            Refusal: the disk is full, the transaction stays decided.
        """
        self._record(["done", transactional_id])

    def pending_in(self, group: str) -> set[TopicPartition]:
        """The partitions of a group whose next offset hangs on an open transaction (KIP-447)."""
        return {partition for one in self.transactions.values() for partition in one.offsets.get(group, ())}

    @property
    def file(self) -> AppendFile:
        """The journal's file."""
        return self._journal.file

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _record(self, entry: Entry) -> None:
        try:
            self._journal.append(entry)
        except OSError as fault:
            raise Refusal(Code.COORDINATOR_NOT_AVAILABLE, f"The broker's journal: {fault.strerror}") from fault
        self._apply(entry)
        if self._journal.size > self._compact_at:
            self._compact()
            self._compact_at = max(COMPACT_AT, 2 * self._journal.size)

    def _apply(self, entry: Entry) -> None:
        self._appliers[entry[0]](*entry[1:])

    def _apply_offsets(self, group: str, rows: list[list[Any]]) -> None:
        self.offsets.setdefault(group, {}).update(_unrows(rows))

    def _apply_forget(self, group: str, partitions: list[list[Any]]) -> None:
        offsets = self.offsets.get(group, {})
        for topic, partition in partitions:
            offsets.pop((topic, partition), None)
        if not offsets:
            self.offsets.pop(group, None)

    def _apply_producers(self, reserved: int) -> None:
        self._reserved = reserved

    def _apply_starts(self, starts: int) -> None:
        self.starts = starts

    def _apply_identity(  # noqa: PLR0917 - the fields of a journal entry
        self,
        transactional_id: str,
        producer_id: int,
        epoch: int,
        timeout: int,
        last: bool | None = None,  # noqa: FBT001 - journal field
        former: Sequence[int] | None = None,
    ) -> None:
        self.transactions[transactional_id] = Transaction(
            transactional_id, producer_id, epoch, timeout, last=last, former=_former(former)
        )

    def _apply_partitions(self, transactional_id: str, partitions: list[list[Any]]) -> None:
        self.transactions[transactional_id].partitions.update((topic, index) for topic, index in partitions)

    def _apply_group(self, transactional_id: str, group: str) -> None:
        self.transactions[transactional_id].groups.add(group)

    def _apply_pending(self, transactional_id: str, group: str, rows: list[list[Any]]) -> None:
        self.transactions[transactional_id].offsets.setdefault(group, {}).update(_unrows(rows))

    def _apply_decision(
        self,
        transactional_id: str,
        commit: bool,  # noqa: FBT001 - journal field
        epoch: int,
        former: Sequence[int] | None = None,
    ) -> None:
        self.transactions[transactional_id].decision = Decision(commit, epoch, _former(former))

    def _apply_done(self, transactional_id: str) -> None:
        one = self.transactions[transactional_id]
        if one.decision is None:
            return
        if one.decision.commit:
            for group, offsets in one.offsets.items():
                self.offsets.setdefault(group, {}).update(offsets)
        self.transactions[transactional_id] = Transaction(
            one.id,
            one.producer_id,
            one.decision.epoch,
            one.timeout,
            last=one.decision.commit,
            former=one.decision.former,
        )

    def _compact(self) -> None:
        try:
            self._journal.rewrite(self._entries())
        except OSError as fault:
            logger.warning("The broker's journal is not compacted: %s", fault.strerror)

    def _entries(self) -> Iterator[Entry]:
        yield ["producers", self._reserved]
        yield ["starts", self.starts]
        for group, offsets in self.offsets.items():
            yield ["offsets", group, _rows(offsets)]
        for one in self.transactions.values():
            yield ["identity", one.id, one.producer_id, one.epoch, one.timeout, one.last, one.former]
            yield ["partitions", one.id, [list(partition) for partition in one.partitions]]
            for group in one.groups:
                yield ["group", one.id, group]
            for group, offsets in one.offsets.items():
                yield ["pending", one.id, group, _rows(offsets)]
            if one.decision is not None:
                yield ["decision", one.id, one.decision.commit, one.decision.epoch, one.decision.former]


def _former(field: Sequence[int] | None) -> Former:
    return (field[0], field[1]) if field else None


def _rows(offsets: dict[TopicPartition, Committed]) -> list[list[Any]]:
    return [[topic, partition, one.offset, one.metadata] for (topic, partition), one in offsets.items()]


def _unrows(rows: list[list[Any]]) -> dict[TopicPartition, Committed]:
    return {(topic, partition): Committed(offset, metadata) for topic, partition, offset, metadata in rows}
