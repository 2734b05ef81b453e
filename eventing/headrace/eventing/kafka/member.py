"""A consumer-group member on Kafka: the ``EventLog`` of production.

Threads: the consumer belongs to one thread, the transactional producer to another, both to this object; the event
loop only waits for them. The driver runs the rebalance callbacks on a thread of its choice, where no call of the
consumer may be made: they hand over to the loop and to the next poll. What several threads see is changed by single
operations of a dict.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import HeadraceError, TakenOverError, UnavailableError
from headrace.eventing.kafka.driver import ConsumerOptions, driver_of
from headrace.eventing.kafka.meanings import ExpelledError, NameTakenError
from headrace.eventing.kafka.settings import as_settings
from headrace.eventing.kafka.topics import group_progress, remove_member
from headrace.eventing.kafka.transaction import TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.eventing.kafka.driver import Consumer, Membership
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Committed, OutgoingRecord, Partition, RebalanceListener, Record

_log = logging.getLogger(__name__)
POLL = 0.5
"""Seconds that a poll waits for records."""
SESSION = 10.0
"""Seconds without a heartbeat after which the broker gives the partitions of a dead member to others."""
HEARTBEAT = 1.0
"""Seconds between heartbeats: a member learns of a rebalance by the next one, and all others wait for it."""
UNNOTICED = 3.0
"""Seconds after a commit was refused for the member's place in the group in which the client itself may notice: three
heartbeats. kafka-python's have been seen to end without a word."""
REJOIN = 5.0
"""Seconds within which a member that was refused by its old id learns its new one."""
REVOKE_MARGIN = 5.0
"""Seconds on top of the drain deadline before a revocation stops waiting for the loop."""


ENDS = 10.0
"""Seconds between two questions how far the partitions go."""


class _Arrival(NamedTuple):
    """A partition that came, in this life of it, with what was committed then."""

    life: int
    committed: Committed | None


class _Refusal(NamedTuple):
    """Commits are refused for this member's place in the group."""

    member_id: str
    since: float


class KafkaMember:
    """One member; see :class:`headrace.eventing.log.EventLog`.

    Args:
        kafka: The cluster.
        topic: The topic to read.
        group: Consumer group.
        name: Names this member over its lives (a pod's name): a new life takes over the partitions of the old one at
            once and fences it. None for a member that has one life; its partitions wait for the session to expire.
        drain: Seconds that a revocation may wait for work under way.

    Raises:
        ConfigurationError: the driver is not installed, or a file of the settings is wrong.
    """

    def __init__(
        self, kafka: KafkaSettings | str, *, topic: str, group: str, name: str | None = None, drain: float = 10.0
    ) -> None:
        self._settings = as_settings(kafka)
        self._driver = driver_of(self._settings)
        self._topic = topic
        self._group = group
        self._drain = drain
        self._name = name
        self._writer = TransactionalWriter(self._settings, f"{group}.{name or uuid.uuid4()}")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="kafka-read")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="kafka-write")
        self._consumer: Consumer | None = None
        self._paused: AbstractSet[Partition] = frozenset()
        self._lives = itertools.count(1)
        self._owned: dict[Partition, int] = {}
        """Ours, until a revocation ends; which of its lives here, so that nothing of an earlier one is taken for it."""
        self._refused: _Refusal | None = None
        self._told: dict[Partition, int] = {}
        """The life of each partition that the listener knows of; belongs to the event loop."""
        self._arrived: set[Partition] = set()
        """Assigned, and not yet told to the listener."""
        self._held: list[tuple[int, Record]] = []
        """Polled, and kept while what was committed for a new partition cannot be asked: the client gives them once."""
        self._reached: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._ends_at = 0.0

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
        arrived, records = await self._loop.run_in_executor(self._reading, self._poll, most)
        # A partition may have gone again while the poll that brought it was under way.
        if still_ours := {p: one for p, one in arrived.items() if self._owned.get(p) == one.life}:
            self._told |= {partition: one.life for partition, one in still_ours.items()}
            self._listener.assigned({partition: one.committed for partition, one in still_ours.items()})
        return records

    def reached(self) -> Mapping[Partition, int]:
        """How far the last poll read; see :class:`headrace.eventing.log.EventLog`."""
        return self._reached

    def ends(self) -> Mapping[Partition, int]:
        """As the broker said ten seconds ago at most, while it answers."""
        return self._ends

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """From the next poll on, deliver nothing of exactly these partitions."""
        self._paused = frozenset(partitions)

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """One transaction."""
        lives = {partition: self._told.get(partition) for partition in done}
        await self._loop.run_in_executor(self._writing, self._write, records, done, lives)

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

    def _write(
        self,
        records: Sequence[OutgoingRecord],
        done: Mapping[Partition, Committed],
        lives: Mapping[Partition, int | None],
    ) -> None:
        member_id = self._member_id()
        try:
            self._writer.write(records, done, lambda: self._membership(lives))
            self._refused = None
        except ExpelledError:
            if self._refused is None or self._refused.member_id != member_id:
                self._refused = _Refusal(member_id, time.monotonic())
            raise
        except NameTakenError as fault:
            if self._joined_anew(member_id):
                raise UnavailableError(f"joined {self._group} anew while it wrote: {fault.message}") from fault
            raise

    def _member_id(self) -> str:
        assert self._consumer is not None
        return self._consumer.membership().member_id

    def _joined_anew(self, member_id: str) -> bool:
        """Whether this very member has another id now; it may be just about to learn it.

        A broker that came back without its groups gives the name a new id, and refuses what was begun with the old
        one in the words it has for a name that another process took. Of that, a fenced producer tells as well.
        """
        end = time.monotonic() + REJOIN
        while (now := self._member_id()) == member_id and time.monotonic() < end:
            time.sleep(0.05)
        return bool(now and now != member_id)

    def _membership(self, lives: Mapping[Partition, int | None]) -> Membership:
        """This member's place in the group, for a commit of these partitions in these lives of theirs.

        Asked for when the commit needs it, not at the last poll: the generation may be a newer one, and Kafka fences
        the older (KIP-447).
        """
        assert self._consumer is not None
        place = self._consumer.membership()
        # After the generation, never before: a revocation that ran out of its time takes the partitions away first and
        # begins the newer generation then, and with that one Kafka would take a commit for another member's partition.
        # By life: a partition that went and came back is told of anew, from what is committed now, and what was worked
        # out in its earlier life will be answered once more.
        if lost := [
            partition for partition, life in lives.items() if life is None or self._owned.get(partition) != life
        ]:
            raise UnavailableError(f"{len(lost)} partitions of {self._topic} went to another member before the commit")
        return place

    def _known(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, Committed]:
        # Not by the consumer: a revocation may be waiting for this very answer while it holds the reading thread.
        self._writer.open()
        return group_progress(self._settings, self._group, partitions)

    # --- on the reading thread ---

    def _open(self) -> None:
        options = ConsumerOptions(
            client_id="headrace-dispatcher",
            group=self._group,
            name=self._name,
            session=SESSION,
            heartbeat=HEARTBEAT,
            wait=POLL,
        )
        with self._driver.faults(f"consume {self._topic} from Kafka at {self._settings.bootstrap}", self._settings):
            self._consumer = self._driver.consumer(self._settings, options)
            self._consumer.subscribe(self._topic, self)

    def _poll(self, most: int) -> tuple[Mapping[Partition, _Arrival], list[Record]]:
        self._reached = {}
        member_id = self._member_id()
        try:
            with self._driver.faults(f"poll {self._topic} of Kafka at {self._settings.bootstrap}", self._settings):
                return self._ask(most)
        except TakenOverError:
            if self._joined_anew(member_id):
                return {}, []
            raise
        except HeadraceError as fault:
            # The client has reconnected and retried by itself until here; the dispatcher polls again.
            _log.warning("polling again: %s", fault)
            return {}, []

    def _ask(self, most: int) -> tuple[Mapping[Partition, _Arrival], list[Record]]:
        consumer = self._consumer
        assert consumer is not None
        self._notice()
        if not self._held:
            consumer.pause(self._paused)
            polled, owned = consumer.poll(POLL, most), self._owned.copy()
            self._held = [(owned[record.partition], record) for record in polled if record.partition in owned]
        asked = {partition: self._owned.get(partition) for partition in self._arrived.copy()}
        found = consumer.committed(sorted(asked)) if asked else {}
        self._reached = {} if self._held else self._positions(consumer)
        # From here on nothing fails: what is told of and delivered is so once.
        arrived = {
            p: _Arrival(life, known)
            for p, known in found.items()
            if (life := asked[p]) is not None and self._owned.get(p) == life
        }
        self._arrived -= arrived.keys()
        self._ask_ends(consumer)
        records = [record for life, record in self._held if self._owned.get(record.partition) == life]
        self._held = []
        return arrived, records

    def _ask_ends(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if now - self._ends_at < ENDS or not self._owned:
            return
        self._ends_at = now
        try:
            with self._driver.faults(f"ask how far {self._topic} goes", self._settings):
                self._ends = consumer.ends(sorted(self._owned))
        except HeadraceError as fault:  # a number for people must not hold up the work
            _log.debug("the lag is not known just now: %s", fault)

    def _notice(self) -> None:
        """Join anew where commits are refused for a place in the group that the client believes to have still."""
        refused = self._refused
        if refused is None or time.monotonic() - refused.since < UNNOTICED:
            return
        self._refused = None
        if self._consumer is not None and self._member_id() == refused.member_id:
            _log.warning("%s does not know this member any more: joining anew", self._group)
            self._consumer.join_anew()

    def _positions(self, consumer: Consumer) -> dict[Partition, int]:
        before = self._owned.copy()
        return {p: at for p, at in consumer.positions().items() if p in before and self._owned.get(p) == before[p]}

    def _close(self) -> None:
        if self._consumer is None:
            return
        with contextlib.suppress(HeadraceError), self._driver.faults("leave the group", self._settings):
            member_id = self._member_id()
            self._consumer.close()
            if self._name is not None and member_id:
                # A named member does not leave by itself (KIP-345): its partitions would wait for the session to end.
                remove_member(self._settings, self._group, name=self._name, member_id=member_id)

    # --- on a thread of the driver's (Rebalance) ---

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """Remember them: what was committed for them can only be asked after the callback."""
        self._owned |= {partition: next(self._lives) for partition in partitions}
        self._arrived |= set(partitions)

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
            self._disown(partitions)

    def on_lost(self, partitions: AbstractSet[Partition]) -> None:
        """They are another member's already."""
        self._arrived -= partitions
        self._disown(partitions)
        self._loop.call_soon_threadsafe(self._listener.lost, partitions)

    def _disown(self, partitions: AbstractSet[Partition]) -> None:
        for partition in partitions:
            self._owned.pop(partition, None)


__all__ = ["KafkaMember"]
