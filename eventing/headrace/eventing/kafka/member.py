"""A consumer-group member on Kafka: the ``EventLog`` of production.

Threads: the consumer belongs to one thread, the transactional producer to another, both to this object; the event
loop only waits for them. The rebalance callbacks come on a thread of the driver's, where no call of the consumer may
be made: they are short, and hand over to the loop and to the next poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError, TakenOverError
from headrace.eventing.kafka.driver import ConsumerOptions, driver_of
from headrace.eventing.kafka.settings import as_settings
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
REVOKE_MARGIN = 5.0
"""Seconds on top of the drain deadline before a revocation stops waiting for the loop."""


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
        self._arrived: set[Partition] = set()
        """Assigned, and not yet told to the listener."""
        self._owned: set[Partition] = set()
        self._held: list[Record] = []
        """Delivered by the client, and not yet by a poll of this member."""
        self._reached: dict[Partition, int] = {}

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

    def reached(self) -> Mapping[Partition, int]:
        """How far the last poll read; see :class:`headrace.eventing.log.EventLog`."""
        return {partition: position for partition, position in self._reached.items() if partition in self._owned}

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """From the next poll on, deliver nothing of exactly these partitions."""
        self._paused = frozenset(partitions)

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """One transaction."""
        await self._loop.run_in_executor(self._writing, self._write, records, done)

    async def close(self) -> None:
        """Leave the group."""
        await self._loop.run_in_executor(self._reading, self._close)  # revokes, and so may still commit
        await self._loop.run_in_executor(self._writing, self._writer.close)
        self._reading.shutdown(wait=False)
        self._writing.shutdown(wait=False)

    # --- on the writing thread ---

    def _write(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        # The group is asked for now, not at the last poll: its generation may be a newer one, and Kafka fences the
        # older (KIP-447).
        self._writer.write(records, done, self._membership)

    def _membership(self) -> Membership:
        assert self._consumer is not None
        return self._consumer.membership()

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

    def _poll(self, most: int) -> tuple[Mapping[Partition, Committed | None], list[Record]]:
        try:
            with self._driver.faults(f"poll {self._topic} of Kafka at {self._settings.bootstrap}", self._settings):
                return self._ask(most)
        except TakenOverError:
            raise
        except HeadraceError as fault:
            # The client has reconnected and retried by itself until here; the dispatcher polls again.
            _log.warning("%s", fault)
            return {}, []

    def _ask(self, most: int) -> tuple[Mapping[Partition, Committed | None], list[Record]]:
        consumer = self._consumer
        assert consumer is not None
        self._reached = {}
        consumer.pause(self._paused)
        # What a poll has brought is kept until it is delivered: the client would never bring it again.
        self._held += consumer.poll(POLL, most)
        arrived = frozenset(self._arrived)
        committed = consumer.committed(sorted(arrived)) if arrived else {}
        if not self._held:
            self._reached = consumer.positions()
        self._arrived -= arrived
        records, self._held = self._held, []
        return committed, records

    def _close(self) -> None:
        if self._consumer is None:
            return
        with contextlib.suppress(HeadraceError), self._driver.faults("leave the group", self._settings):
            member_id = self._consumer.membership().member_id
            self._consumer.close()
            if self._name is not None and member_id:
                self._remove(self._name, member_id)

    def _remove(self, name: str, member_id: str) -> None:
        # A named member does not leave by itself (KIP-345): its partitions would wait for the session to expire.
        from headrace.eventing.kafka.topics import remove_member  # noqa: PLC0415  # imports kafka-python

        remove_member(self._settings, self._group, name=name, member_id=member_id)

    # --- on a thread of the driver's (Rebalance) ---

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """Remember them: what was committed for them can only be asked after the callback."""
        arrived = set(partitions)
        self._arrived |= arrived
        self._owned |= arrived

    def on_revoked(self, partitions: AbstractSet[Partition]) -> None:
        """Let the dispatcher finish what it can, and wait for it."""
        self._forget(partitions)
        if not partitions or self._loop.is_closed():
            return
        draining: Future[None] = asyncio.run_coroutine_threadsafe(self._listener.revoked(partitions), self._loop)
        try:
            draining.result(self._drain + REVOKE_MARGIN)
        except FutureTimeoutError:
            _log.warning("giving up %d partitions with work unfinished: it will be done elsewhere", len(partitions))
            self.on_lost(partitions)

    def on_lost(self, partitions: AbstractSet[Partition]) -> None:
        """They are another member's already."""
        self._forget(partitions)
        self._loop.call_soon_threadsafe(self._listener.lost, partitions)

    def _forget(self, partitions: AbstractSet[Partition]) -> None:
        self._arrived -= partitions
        self._owned -= partitions
        # Were they to come back, they would be read anew from what is committed.
        self._held = [record for record in self._held if record.partition not in partitions]


__all__ = ["KafkaMember"]
