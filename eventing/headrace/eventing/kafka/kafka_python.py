"""The driver on kafka-python."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.structs import OffsetAndMetadata

from headrace.eventing.kafka.driver import METADATA_AGE, MOST_RECORD_BYTES, committed_of
from headrace.eventing.kafka.faults import translate
from headrace.eventing.kafka.first_contact import Client
from headrace.eventing.kafka.oauth import TokenSource
from headrace.eventing.log import Partition, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from headrace.eventing.kafka.driver import ConsumerOptions, Membership, Place, ProducerOptions, Rebalance
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Committed, OutgoingRecord

ABORT_TIMEOUT = 5.0
"""Seconds to wait for the end of a transaction that is given up: the next producer of its name ends it as well."""
_TELLTALES = (
    "kafka.net.connection",
    "kafka.protocol.parser",
    "kafka.admin.client",
    "kafka.consumer.group",
    "kafka.producer.kafka",
)
POSITION_TIMEOUT = 1_000
"""Milliseconds to learn a position that is not known yet."""


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """The settings in kafka-python's words, for every client of its."""
    config: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in settings.bootstrap.split(",")],
        "security_protocol": settings.protocol,
        "kafka_client": Client,
    }
    if settings.tls:
        config |= {
            "ssl_cafile": settings.ca and str(settings.ca),
            "ssl_certfile": settings.certificate and str(settings.certificate),
            "ssl_keyfile": settings.key and str(settings.key),
            "ssl_password": settings.key_password,
        }
    if settings.sasl or settings.key_password:
        _keep_logins_out_of_logs()
    if settings.sasl:
        config["sasl_mechanism"] = settings.mechanism
        if settings.oauth:
            config["sasl_oauth_token_provider"] = _Provider(TokenSource(settings.oauth))
        else:
            config |= {"sasl_plain_username": settings.user, "sasl_plain_password": settings.password}
    return config


def _keep_logins_out_of_logs() -> None:
    """kafka-python writes its requests and settings at level DEBUG, the passwords of keys and logins among them."""
    for name in _TELLTALES:
        telltale = logging.getLogger(name)
        if _not_debug not in telltale.filters:
            telltale.addFilter(_not_debug)


def _not_debug(line: logging.LogRecord) -> bool:
    return line.levelno > logging.DEBUG


@contextmanager
def faults(what: str, settings: KafkaSettings) -> Iterator[None]:
    """Inside, kafka-python's errors become Headrace's."""
    try:
        yield
    except KafkaError as fault:
        raise translate(fault, what, settings) from fault


class KafkaPython:
    """The driver; see :class:`headrace.eventing.kafka.driver.Driver`."""

    def consumer(self, settings: KafkaSettings, options: ConsumerOptions) -> _Consumer:
        """A consumer."""
        group: dict[str, Any] = {}
        if options.group:
            group = {
                "group_id": options.group,
                "group_instance_id": options.name,
                "session_timeout_ms": _ms(options.session),
                "heartbeat_interval_ms": _ms(options.heartbeat),
                "partition_assignment_strategy": [CooperativeStickyAssignor],
            }
        client = KafkaConsumer(
            **connection(settings),
            **group,
            client_id=options.client_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=_ms(options.connect),
            fetch_max_wait_ms=_ms(options.wait),
            metadata_max_age_ms=_ms(METADATA_AGE),
        )
        if options.group:
            _let_go_of_lost_places(client)
        return _Consumer(client)

    def producer(self, settings: KafkaSettings, options: ProducerOptions) -> _Producer:
        """A producer."""
        transactional: dict[str, Any] = {}
        if options.transactional_id:
            transactional = {
                "transactional_id": options.transactional_id,
                "transaction_timeout_ms": _ms(options.transaction),
            }
        return _Producer(
            KafkaProducer(
                **connection(settings),
                **transactional,
                client_id=options.client_id,
                compression_type=None if settings.compression == "none" else settings.compression,
                max_request_size=MOST_RECORD_BYTES,
                linger_ms=0,
                request_timeout_ms=_ms(options.request),
                delivery_timeout_ms=_ms(options.delivery),
                max_block_ms=_ms(options.block),
                bootstrap_timeout_ms=_ms(options.connect),
            )
        )

    def faults(self, what: str, settings: KafkaSettings) -> Any:
        """Inside, kafka-python's errors become Headrace's."""
        return faults(what, settings)


class _Group(NamedTuple):
    """kafka-python's ``ConsumerGroupMetadata``."""

    opaque: Any

    @property
    def member_id(self) -> str:
        return self.opaque.member_id or ""


class _Consumer:
    """See :class:`headrace.eventing.kafka.driver.Consumer`."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def subscribe(self, topic: str, rebalance: Rebalance) -> None:
        self._consumer.subscribe([topic], listener=_Callbacks(rebalance))

    def partitions(self, topic: str) -> list[Partition]:
        return [Partition(topic, number) for number in sorted(self._consumer.partitions_for_topic(topic) or ())]

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return _by_partition(self._consumer.end_offsets(_raw(partitions)))

    def begins(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return _by_partition(self._consumer.beginning_offsets(_raw(partitions)))

    def assign(self, starts: Mapping[Partition, int]) -> None:
        self._consumer.assign(_raw(starts))
        for partition, offset in starts.items():
            self._consumer.seek(TopicPartition(*partition), offset)

    def poll(self, seconds: float, most: int) -> list[Record]:
        batches = self._consumer.poll(timeout_ms=_ms(seconds), max_records=most)
        return [_record(raw) for batch in batches.values() for raw in batch]

    def positions(self) -> dict[Partition, int]:
        known: dict[Partition, int] = {}
        for raw in self._consumer.assignment():
            with suppress(KafkaError):  # revoked this moment, or the broker is away: the next poll asks again
                position = self._consumer.position(raw, timeout_ms=POSITION_TIMEOUT)
                if position is not None:
                    known[Partition(*raw)] = position
        return known

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        owned = {Partition(*raw) for raw in self._consumer.assignment()}
        paused = {Partition(*raw) for raw in self._consumer.paused()}
        wanted = partitions & owned
        self._consumer.pause(*_raw(wanted - paused))
        self._consumer.resume(*_raw((paused & owned) - wanted))

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed | None]:
        return {partition: self._committed(partition) for partition in partitions}

    def membership(self) -> _Group:
        # A snapshot, the one call of kafka-python's consumer that any thread may make.
        return _Group(self._consumer.group_metadata())

    def join_anew(self) -> None:
        self._consumer._coordinator.reset_generation()  # noqa: SLF001  # as it does itself when a heartbeat is refused

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def _committed(self, partition: Partition) -> Committed | None:
        known = self._consumer.committed(TopicPartition(*partition), metadata=True)
        return committed_of(known.offset, known.metadata) if known is not None else None


class _Producer:
    """See :class:`headrace.eventing.kafka.driver.Producer`."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._sent: list[Any] = []
        self._aborted: KafkaError | None = None
        """What the last abort failed with."""

    def init_transactions(self) -> None:
        self._producer.init_transactions()

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send(self, record: OutgoingRecord, told: Callable[[Exception | None], None] | None = None) -> None:
        future = self._producer.send(record.topic, record.value, key=_key(record), headers=list(record.headers))
        if told is not None:
            future.add_callback(lambda _: told(None))
            future.add_errback(told)
        self._sent.append(future)

    def flush(self, seconds: float | None = None) -> list[Place]:
        # Not kafka-python's own flush: it fails at random while it splits a batch that the broker found too large,
        # and hides which record is. Nothing lingers, so all is on its way already, and ends by the delivery timeout.
        sent, self._sent = self._sent, []
        deadline = None if seconds is None else time.monotonic() + seconds
        acknowledged = [future.get(timeout=_left(deadline)) for future in sent]
        return [(Partition(one.topic, one.partition), one.offset) for one in acknowledged]

    def send_offsets(self, done: Mapping[Partition, Committed], group: Membership) -> None:
        offsets = {TopicPartition(*p): OffsetAndMetadata(c.offset, c.metadata, -1) for p, c in done.items()}
        self._producer.send_offsets_to_transaction(offsets, group.opaque)

    def commit(self) -> None:
        self._producer.commit_transaction()

    def abort(self) -> None:
        # kafka-python waits for ever where its sender has lost a batch that expired while the broker was gone. The
        # thread that waits ends when the producer is closed, or with the process.
        aborting = Thread(target=self._abort, name="kafka-abort", daemon=True)
        aborting.start()
        aborting.join(ABORT_TIMEOUT)
        if aborting.is_alive():
            raise KafkaTimeoutError(f"the transaction is not aborted within {ABORT_TIMEOUT:g} s")
        if self._aborted is not None:
            raise self._aborted

    def _abort(self) -> None:
        self._aborted = None
        try:
            self._producer.abort_transaction()
        except KafkaError as fault:
            self._aborted = fault

    def close(self, seconds: float) -> None:
        self._producer.close(timeout=seconds)


def _let_go_of_lost_places(client: Any) -> None:
    """Make a member of kafka-python 3.0 that has lost its place in the group behave as one that comes anew.

    It looks whether it has lost its place once, before it asks to join. When the broker then answers that it does not
    know the member (it came back without its groups), the next try goes out without that look: partitions that others
    had in the meantime stay, with positions and work of before. And what it tells the group that it owns is what it was
    last assigned, lost or not: the leader takes such a claim for true, and gives the partition away under the hands of
    the member that has it. Either way events are answered twice. Java's client looks before every try, and claims what
    it has.
    """
    coordinator = client._coordinator  # noqa: SLF001  # a test fails when a version has it elsewhere
    reset = coordinator.reset_generation

    def reset_and_let_go(*member_id: str, **named: str) -> None:
        reset(*member_id, **named)
        coordinator.rejoining = False
        for assignor in coordinator._assignors.values():  # noqa: SLF001  # the same
            assignor.member_assignment = None

    coordinator.reset_generation = reset_and_let_go


class _Callbacks(ConsumerRebalanceListener):
    """Called on kafka-python's network thread."""

    def __init__(self, rebalance: Rebalance) -> None:
        self._rebalance = rebalance

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._rebalance.on_assigned([Partition(*raw) for raw in assigned])

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._rebalance.on_revoked({Partition(*raw) for raw in revoked})

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._rebalance.on_lost({Partition(*raw) for raw in lost})


class _Provider(AbstractTokenProvider):
    """Tokens for kafka-python, which asks for one at each login."""

    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        return self._source.token().value


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _raw(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]


def _by_partition(offsets: Mapping[TopicPartition, int]) -> dict[Partition, int]:
    return {Partition(*raw): offset for raw, offset in offsets.items()}


def _key(record: OutgoingRecord) -> bytes | None:
    # kafka-python refuses a record with neither key nor value; Kafka itself does not. An empty key keeps such an
    # event (one without data and key) publishable.
    return b"" if record.key is None and record.value is None else record.key


def _record(raw: Any) -> Record:
    return Record(
        Partition(raw.topic, raw.partition), raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers)
    )
