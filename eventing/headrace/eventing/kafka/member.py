"""A consumer-group member on Kafka: the ``EventLog`` of production.

Threads: the consumer belongs to one thread, the transactional producer to another, both to this object; the event
loop only waits for them. kafka-python runs the rebalance callbacks on its network thread, where no call of the
consumer may be made: they are short, and hand over to the loop and to the next poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import FencedInstanceIdError, KafkaError

from headrace.errors import HeadraceError, TakenOverError, UnavailableError
from headrace.eventing.kafka.faults import translate
from headrace.eventing.kafka.topics import group_progress, remove_member
from headrace.eventing.kafka.transaction import TransactionalWriter
from headrace.eventing.log import Committed, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.eventing.log import OutgoingRecord, RebalanceListener

_log = logging.getLogger(__name__)
POLL = 500
"""Milliseconds that a poll waits for records."""
SESSION = 10_000
"""Milliseconds without a heartbeat after which the broker gives the partitions of a dead member to others."""
HEARTBEAT = 1_000
"""Milliseconds between heartbeats: a member learns of a rebalance by the next one, and all others wait for it."""
REJOIN = 5.0
"""Seconds within which a member that was refused by its old id learns its new one."""
REVOKE_MARGIN = 5.0
"""Seconds on top of the drain deadline before a revocation stops waiting for the loop."""


class KafkaMember:
    """One member; see :class:`headrace.eventing.log.EventLog`.

    Args:
        bootstrap: ``HOST:PORT`` of the broker.
        topic: The topic to read.
        group: Consumer group.
        name: Names this member over its lives (a pod's name): a new life takes over the partitions of the old one at
            once and fences it. None for a member that has one life; its partitions wait for the session to expire.
        drain: Seconds that a revocation may wait for work under way.
    """

    def __init__(self, bootstrap: str, *, topic: str, group: str, name: str | None = None, drain: float = 10.0) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._group = group
        self._drain = drain
        self._name = name
        self._writer = TransactionalWriter(bootstrap, f"{group}.{name or uuid.uuid4()}")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="kafka-read")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="kafka-write")
        self._consumer: Any = None
        self._paused: AbstractSet[Partition] = frozenset()
        self._arrived: set[Partition] = set()
        """Assigned, and not yet told to the listener."""
        self._held: list[Record] = []
        """Polled, and kept while what was committed for a new partition cannot be asked: the client gives them once."""
        self._owned: set[Partition] = set()

    async def start(self, listener: RebalanceListener) -> None:
        """Join the group; see :class:`headrace.eventing.log.EventLog`."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        await asyncio.gather(
            self._loop.run_in_executor(self._writing, self._writer.open),
            self._loop.run_in_executor(self._reading, self._open),
        )

    async def poll(self, most: int) -> Sequence[Record]:
        """The next records."""
        committed, records = await self._loop.run_in_executor(self._reading, self._poll, most)
        # A partition may have gone again while the poll that brought it was under way.
        if still_ours := {p: known for p, known in committed.items() if p in self._owned}:
            self._listener.assigned(still_ours)
        return records

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """From the next poll on, deliver nothing of exactly these partitions."""
        self._paused = frozenset(partitions)

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """One transaction."""
        await self._loop.run_in_executor(self._writing, self._write, records, done)

    async def committed(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, Committed]:
        """What the group has committed, asked after the last transaction's end."""
        return await self._loop.run_in_executor(self._writing, self._known, partitions)

    async def close(self) -> None:
        """Leave the group."""
        await self._loop.run_in_executor(self._reading, self._close)  # revokes, and so may still commit
        await self._loop.run_in_executor(self._writing, self._writer.close)
        self._reading.shutdown(wait=False)
        self._writing.shutdown(wait=False)

    # --- on the writing thread ---

    def _write(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        # The group is asked for now, not at the last poll: its generation may be a newer one, and Kafka fences the
        # older (KIP-447). It is a snapshot, the one call of the consumer that any thread may make.
        group = self._consumer.group_metadata()
        # After the generation, never before: a revocation that ran out of its time takes the partitions away first and
        # begins the newer generation then, and with that one Kafka would take a commit for another member's partition.
        if lost := done.keys() - self._owned:
            raise UnavailableError(f"{len(lost)} partitions of {self._topic} went to another member before the commit")
        try:
            self._writer.write(records, done, group)
        except TakenOverError as fault:
            if isinstance(fault.__cause__, FencedInstanceIdError) and self._joined_anew(group.member_id):
                raise UnavailableError(f"joined {self._group} anew while it wrote: {fault.message}") from fault
            raise

    def _joined_anew(self, member_id: str) -> bool:
        """Whether this very member has another id now; it may be just about to learn it.

        A broker that came back without its groups gives the name a new id, and refuses what was begun with the old
        one in the words it has for a name that another process took. Of that, ``ProducerFencedError`` tells as well.
        """
        end = time.monotonic() + REJOIN
        while (now := self._consumer.group_metadata().member_id) == member_id and time.monotonic() < end:
            time.sleep(0.05)
        return bool(now and now != member_id)

    def _known(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, Committed]:
        # Not by the consumer: a revocation may be waiting for this very answer while it holds the reading thread.
        self._writer.open()
        return group_progress(self._bootstrap, self._group, partitions)

    # --- on the reading thread ---

    def _open(self) -> None:
        try:
            self._consumer = KafkaConsumer(
                bootstrap_servers=self._bootstrap,
                group_id=self._group,
                group_instance_id=self._name,
                client_id="headrace-dispatcher",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                session_timeout_ms=SESSION,
                heartbeat_interval_ms=HEARTBEAT,
                partition_assignment_strategy=[CooperativeStickyAssignor],
                fetch_max_wait_ms=POLL,
            )
            self._consumer.subscribe([self._topic], listener=_Callbacks(self))
        except KafkaError as fault:
            raise translate(fault, f"consume {self._topic} from Kafka at {self._bootstrap}") from fault

    def _poll(self, most: int) -> tuple[dict[Partition, Committed | None], list[Record]]:
        try:
            self._apply_pauses()
            if not self._held:
                batches = self._consumer.poll(timeout_ms=POLL, max_records=most)
                self._held = [_record(raw) for batch in batches.values() for raw in batch]
            committed = {partition: self._committed(partition) for partition in sorted(self._arrived)}
        except KafkaError as fault:
            # kafka-python has reconnected and retried by itself until here; the dispatcher polls again.
            _log.warning("poll of %s failed, polling again: %s: %s", self._topic, type(fault).__name__, fault)
            return {}, []
        self._arrived -= committed.keys()
        records, self._held = self._held, []
        return committed, records

    def _apply_pauses(self) -> None:
        owned = {Partition(*raw) for raw in self._consumer.assignment()}
        paused = {Partition(*raw) for raw in self._consumer.paused()}
        wanted = self._paused & owned
        self._consumer.pause(*(TopicPartition(*p) for p in wanted - paused))
        self._consumer.resume(*(TopicPartition(*p) for p in (paused & owned) - wanted))

    def _committed(self, partition: Partition) -> Committed | None:
        known = self._consumer.committed(TopicPartition(*partition), metadata=True)
        return Committed(known.offset, known.metadata or "") if known is not None and known.offset >= 0 else None

    def _close(self) -> None:
        if self._consumer is None:
            return
        life = self._consumer.group_metadata()
        self._consumer.close(autocommit=False)
        if self._name is not None and life.member_id:
            # A named member does not leave by itself (KIP-345): its partitions would wait for the session to expire.
            with contextlib.suppress(HeadraceError):
                remove_member(self._bootstrap, self._group, name=self._name, member_id=life.member_id)

    # --- on kafka-python's network thread ---

    def on_assigned(self, partitions: Iterable[Partition]) -> None:
        """Remember them: what was committed for them can only be asked after the callback."""
        arrived = set(partitions)
        self._arrived |= arrived
        self._owned |= arrived

    def on_revoked(self, partitions: AbstractSet[Partition]) -> None:
        """Let the dispatcher finish what it can, and wait for it."""
        self._arrived -= partitions
        if not partitions or self._loop.is_closed():
            return
        draining: Future[None] = asyncio.run_coroutine_threadsafe(self._listener.revoked(partitions), self._loop)
        try:
            draining.result(self._drain + REVOKE_MARGIN)
        except FutureTimeoutError:
            _log.warning("giving up %d partitions with work unfinished: it will be done elsewhere", len(partitions))
            self.on_lost(partitions)
        finally:
            self._owned -= partitions

    def on_lost(self, partitions: AbstractSet[Partition]) -> None:
        """They are another member's already."""
        self._arrived -= partitions
        self._owned -= partitions
        self._loop.call_soon_threadsafe(self._listener.lost, partitions)


class _Callbacks(ConsumerRebalanceListener):
    def __init__(self, member: KafkaMember) -> None:
        self._member = member

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._member.on_assigned(Partition(*raw) for raw in assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._member.on_revoked({Partition(*raw) for raw in revoked})

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._member.on_lost({Partition(*raw) for raw in lost})


def _record(raw: Any) -> Record:
    return Record(
        Partition(raw.topic, raw.partition), raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)
    )


__all__ = ["KafkaMember"]
