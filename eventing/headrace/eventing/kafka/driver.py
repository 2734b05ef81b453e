"""The seam behind which a Kafka client library is: what the members, writers and readers here need of one.

Two drivers: ``kafka_python`` (the default: nothing to install) and ``confluent`` (librdkafka, in C). Whatever either
raises becomes an error of ``headrace.errors`` inside :meth:`Driver.faults`; outside it, callers see none of theirs.
Administration (``topics``) is kafka-python's in both cases: it is no hot path, and the other cannot do all of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headrace.errors import ConfigurationError
from headrace.eventing.kafka.settings import DRIVERS
from headrace.eventing.kafka.tls import check_files
from headrace.eventing.log import Committed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import OutgoingRecord, Partition, Record

VARIABLE = "HEADRACE_KAFKA_DRIVER"
MOST_RECORD_BYTES = 64 * 1024 * 1024
"""Bytes of the largest record the client itself lets through; the topic's own limit is the broker's to enforce."""
METADATA_AGE = 30.0
"""Seconds after which a reader looks for topics that were created, and for partitions that were added."""
Place = tuple["Partition", int]
"""Where a record lies: its partition and offset."""


class Rebalance(Protocol):
    """Told of partitions that come and go, from a thread of the driver, in which no call of the consumer is made."""

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """They are this member's now."""

    def on_revoked(self, partitions: AbstractSet[Partition]) -> None:
        """They leave when this returns; it may block for as long as work under way takes."""

    def on_lost(self, partitions: AbstractSet[Partition]) -> None:
        """They are another member's already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """How one consumer behaves; every consumer reads committed records only, and commits nothing by itself."""

    client_id: str
    group: str | None = None
    """None for a consumer that is told its partitions."""
    name: str | None = None
    """``group.instance.id``."""
    session: float = 10.0
    """Seconds without a heartbeat after which a member counts as dead."""
    heartbeat: float = 1.0
    """Seconds between heartbeats."""
    wait: float = 0.5
    """Seconds for which the broker holds a request for records that are not there yet."""
    connect: float = 30.0
    """Seconds for the first connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerOptions:
    """How one producer behaves; every producer is idempotent and waits for all replicas."""

    client_id: str
    transactional_id: str | None = None
    transaction: float = 15.0
    """Seconds after which the broker aborts a transaction whose writer is gone."""
    request: float = 30.0
    """Seconds for one answer of the broker."""
    delivery: float = 120.0
    """Seconds for one record to be acknowledged."""
    block: float = 30.0
    """Seconds for any one call."""
    connect: float = 30.0
    """Seconds for the first connection."""


class Membership(Protocol):
    """A consumer's place in its group at one moment; the producer of the same driver takes it."""

    @property
    def member_id(self) -> str:
        """The broker's id of this life of the member; empty before it has joined."""

    @property
    def opaque(self) -> Any:
        """What the library calls group metadata."""


class Consumer(Protocol):
    """Reads; belongs to one thread, but for :meth:`membership`."""

    def subscribe(self, topic: str, rebalance: Rebalance) -> None:
        """Join the group with this topic."""

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic in order; none where there is no such topic, which is not created."""

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """By partition, the offset behind the last committed record."""

    def begins(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """By partition, the first offset that is there."""

    def assign(self, starts: Mapping[Partition, int]) -> None:
        """Read these partitions from these offsets, outside any group."""

    def poll(self, seconds: float, most: int) -> list[Record]:
        """The next records, as soon as there are any; none after ``seconds``."""

    def positions(self) -> dict[Partition, int]:
        """By partition read, the next offset: past every record delivered, and past what is there and no record.

        A partition whose position is not known yet is left out.
        """

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """Deliver nothing of exactly these; of partitions that are not this consumer's, nothing is paused."""

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed | None]:
        """What the group committed last."""

    def membership(self) -> Membership:
        """This member's place in the group now; any thread may ask."""

    def join_anew(self) -> None:
        """Take the place in the group for lost: the next poll joins it anew. For a client that does not notice."""

    def close(self) -> None:
        """Leave the group, by the callbacks of the rebalance."""


class Producer(Protocol):
    """Writes; belongs to one thread."""

    def init_transactions(self) -> None:
        """Fence earlier lives of the transactional id, and end what they left open."""

    def begin(self) -> None:
        """Begin a transaction."""

    def send(self, record: OutgoingRecord, told: Callable[[Exception | None], None] | None = None) -> None:
        """Hand over one record; ``told`` hears of its acknowledgement or fault, from any thread."""

    def flush(self, seconds: float | None = None) -> list[Place]:
        """Wait until the broker has all that was sent since the last flush; where each lies, in that order.

        Raises the first fault of the library; after ``seconds`` its timeout.
        """

    def send_offsets(self, done: Mapping[Partition, Committed], group: Membership) -> None:
        """Put a group's progress into the transaction."""

    def commit(self) -> None:
        """Commit the transaction."""

    def abort(self) -> None:
        """Abort the transaction."""

    def close(self, seconds: float) -> None:
        """Let go, whatever is under way."""


class Driver(Protocol):
    """A client library."""

    def consumer(self, settings: KafkaSettings, options: ConsumerOptions) -> Consumer:
        """A consumer."""

    def producer(self, settings: KafkaSettings, options: ProducerOptions) -> Producer:
        """A producer."""

    def faults(self, what: str, settings: KafkaSettings) -> AbstractContextManager[None]:
        """Inside, the library's errors become Headrace's.

        Args:
            what: What is tried, with its place, for the message.
            settings: Whose secrets are masked in it.
        """


def committed_of(offset: int, metadata: str | None) -> Committed | None:
    """What a group has committed, as a broker gives it; None for a partition of which it has nothing.

    confluent-kafka writes the metadata as C has it, with a zero byte at its end: without that being dropped, another
    driver would not know it again.
    """
    return Committed(offset, (metadata or "").rstrip("\0")) if offset >= 0 else None


def driver_of(settings: KafkaSettings) -> Driver:
    """The driver that the settings name, else ``$HEADRACE_KAFKA_DRIVER``, else kafka-python.

    Raises:
        ConfigurationError: there is no such driver, it is not installed, or a file of the settings is wrong.
    """
    check_files(settings)
    name = settings.driver or os.environ.get(VARIABLE) or DRIVERS[0]
    if name == "kafka-python":
        from headrace.eventing.kafka.kafka_python import KafkaPython  # noqa: PLC0415  # the other need not import it

        return KafkaPython()
    if name == "confluent":
        return _confluent()
    raise ConfigurationError(
        f"{VARIABLE}: there is no Kafka driver {name!r}", hint=f"it is one of {', '.join(DRIVERS)}"
    )


def _confluent() -> Driver:
    try:
        from headrace.eventing.kafka.confluent.client import Confluent  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as fault:
        if fault.name is None or fault.name.partition(".")[0] != "confluent_kafka":
            raise
        raise ConfigurationError(
            "The Kafka driver `confluent` needs confluent-kafka, which is not installed",
            hint="pip install 'headrace[confluent]'",
        ) from None
    return Confluent()
