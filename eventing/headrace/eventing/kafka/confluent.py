"""The driver on confluent-kafka (librdkafka): the same behaviour in C, for many small records."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import confluent_kafka as ck

from headrace.errors import (
    ConfigurationError,
    HeadraceError,
    PayloadTooLargeError,
    StorageFullError,
    TakenOverError,
)
from headrace.eventing.kafka import faults as words
from headrace.eventing.kafka.driver import MOST_RECORD_BYTES
from headrace.eventing.kafka.oauth import TokenSource
from headrace.eventing.log import Committed, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from headrace.eventing.kafka.driver import ConsumerOptions, Membership, Place, ProducerOptions, Rebalance
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import OutgoingRecord

_log = logging.getLogger(__name__)
CALL_TIMEOUT = 30.0
"""Seconds for one question to the broker."""
_CODE = ck.KafkaError
_TOO_LARGE = {_CODE.MSG_SIZE_TOO_LARGE, _CODE.RECORD_LIST_TOO_LARGE}
_FENCED = {_CODE._FENCED, _CODE.FENCED_INSTANCE_ID, _CODE.PRODUCER_FENCED, _CODE.INVALID_PRODUCER_EPOCH}  # noqa: SLF001  # how librdkafka names its own codes
_LOGIN = {
    _CODE._AUTHENTICATION,  # noqa: SLF001  # the same
    _CODE.SASL_AUTHENTICATION_FAILED,
    _CODE.UNSUPPORTED_SASL_MECHANISM,
    _CODE.ILLEGAL_SASL_STATE,
}
_MISCONFIGURED = {
    _CODE.TOPIC_AUTHORIZATION_FAILED,
    _CODE.GROUP_AUTHORIZATION_FAILED,
    _CODE.CLUSTER_AUTHORIZATION_FAILED,
    _CODE.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    _CODE.TOPIC_EXCEPTION,
    _CODE._INVALID_ARG,  # noqa: SLF001  # the same
}
_END = _CODE._PARTITION_EOF  # noqa: SLF001  # the same
_TIMED_OUT = _CODE._TIMED_OUT  # noqa: SLF001  # the same


class Confluent:
    """The driver; see :class:`headrace.eventing.kafka.driver.Driver`."""

    def consumer(self, settings: KafkaSettings, options: ConsumerOptions) -> _Consumer:
        """A consumer."""
        heard = _Heard()
        config = {
            **_connection(settings, heard, options.client_id),
            # librdkafka wants a group even of a consumer that is told its partitions.
            "group.id": options.group or "headrace-read",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "enable.partition.eof": True,  # its position says where the end is, behind the markers of transactions
            "fetch.wait.max.ms": _ms(options.wait),
        }
        if options.group:
            config |= {
                "session.timeout.ms": _ms(options.session),
                "heartbeat.interval.ms": _ms(options.heartbeat),
                "partition.assignment.strategy": "cooperative-sticky",
            }
        if options.name:
            config["group.instance.id"] = options.name
        consumer = ck.Consumer(config, logger=_log)
        _connect(consumer, heard, options.connect)
        return _Consumer(consumer, heard)

    def producer(self, settings: KafkaSettings, options: ProducerOptions) -> _Producer:
        """A producer."""
        heard = _Heard()
        config = {
            **_connection(settings, heard, options.client_id),
            "enable.idempotence": True,
            # As Java and kafka-python hash keys, so that one key is in one partition whoever writes.
            "partitioner": "murmur2_random",
            "compression.type": settings.compression,
            "message.max.bytes": MOST_RECORD_BYTES,
            "request.timeout.ms": _ms(options.request),
            "message.timeout.ms": _ms(options.delivery),
        }
        if options.transactional_id:
            config |= {
                "transactional.id": options.transactional_id,
                "transaction.timeout.ms": _ms(options.transaction),
            }
        producer = ck.Producer(config, logger=_log)
        _connect(producer, heard, options.connect)
        return _Producer(producer, heard, options.block)

    @contextmanager
    def faults(self, what: str, settings: KafkaSettings) -> Iterator[None]:
        """Inside, librdkafka's errors become Headrace's."""
        try:
            yield
        except ck.KafkaException as fault:
            raise _translate(fault.args[0], what, settings) from fault
        except _LoginError as fault:
            raise fault.inner from None


class _LoginError(Exception):
    """What the token source raised, brought from a callback to the caller."""

    def __init__(self, inner: HeadraceError) -> None:
        super().__init__(str(inner))
        self.inner = inner


class _Heard:
    """What librdkafka said aside: the reason of a failed login comes by a callback alone."""

    def __init__(self) -> None:
        self._fault: Exception | None = None

    def error(self, error: Any) -> None:
        """Take librdkafka's ``error_cb``."""
        if error.code() in _LOGIN or error.fatal():
            self._fault = ck.KafkaException(error)
        else:
            _log.debug("librdkafka: %s", error.name())  # it reconnects by itself

    def token(self, source: TokenSource) -> tuple[str, float]:
        """Answer librdkafka's ``oauth_cb``."""
        try:
            token = source.token()
        except HeadraceError as fault:
            self._fault = _LoginError(fault)
            raise
        return token.value, token.expires

    def check(self) -> None:
        """Raise what was heard since the last time."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault


class _Group(NamedTuple):
    """librdkafka's group metadata."""

    member_id: str
    opaque: Any


class _Consumer:
    """See :class:`headrace.eventing.kafka.driver.Consumer`."""

    def __init__(self, consumer: Any, heard: _Heard) -> None:
        self._consumer = consumer
        self._heard = heard
        self._positions: dict[Partition, int] = {}
        self._owned: set[Partition] = set()
        self._paused: set[Partition] = set()

    def subscribe(self, topic: str, rebalance: Rebalance) -> None:
        def assigned(_: Any, raw: list[Any]) -> None:
            partitions = _partitions(raw)
            self._forget(partitions)
            self._owned |= partitions
            rebalance.on_assigned(partitions)

        def revoked(_: Any, raw: list[Any]) -> None:
            partitions = _partitions(raw)
            rebalance.on_revoked(partitions)
            self._forget(partitions)

        def lost(_: Any, raw: list[Any]) -> None:
            partitions = _partitions(raw)
            self._forget(partitions)
            rebalance.on_lost(partitions)

        self._consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def partitions(self, topic: str) -> list[Partition]:
        found = self._consumer.list_topics(topic, timeout=CALL_TIMEOUT).topics.get(topic)
        return [Partition(topic, number) for number in sorted(found.partitions)] if found and not found.error else []

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return {partition: self._watermarks(partition)[1] for partition in partitions}

    def begins(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        return {partition: self._watermarks(partition)[0] for partition in partitions}

    def assign(self, starts: Mapping[Partition, int]) -> None:
        self._owned, self._positions, self._paused = set(starts), dict(starts), set()
        self._consumer.assign([ck.TopicPartition(*partition, offset) for partition, offset in starts.items()])

    def poll(self, seconds: float, most: int) -> list[Record]:
        deadline = time.monotonic() + seconds
        while True:
            # `consume` alone would wait until it has `most` records or the time is over.
            first = self._consumer.poll(max(0.0, deadline - time.monotonic()))
            messages = [] if first is None else [first, *self._consumer.consume(most - 1, 0)]
            records = self._sort(messages)
            if records or time.monotonic() >= deadline:
                return records

    def positions(self) -> dict[Partition, int]:
        return {partition: offset for partition, offset in self._positions.items() if partition in self._owned}

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        wanted = partitions & self._owned
        if begun := wanted - self._paused:
            self._consumer.pause(_raw(begun))
        if ended := self._paused - wanted:
            self._consumer.resume(_raw(ended))
        self._paused = set(wanted)

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed | None]:
        if not partitions:
            return {}
        found = self._consumer.committed(_raw(partitions), timeout=CALL_TIMEOUT)
        for raw in found:
            if raw.error:
                raise ck.KafkaException(raw.error)
        return {
            Partition(raw.topic, raw.partition): Committed(raw.offset, raw.metadata or "") if raw.offset >= 0 else None
            for raw in found
        }

    def membership(self) -> _Group:
        return _Group(self._consumer.memberid() or "", self._consumer.consumer_group_metadata())

    def close(self) -> None:
        self._consumer.close()

    def _watermarks(self, partition: Partition) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(ck.TopicPartition(*partition), timeout=CALL_TIMEOUT)
        return int(low), int(high)

    def _sort(self, messages: list[Any]) -> list[Record]:
        """The records among the messages; ends become positions, and a fault is raised where no record would go."""
        records: list[Record] = []
        fault: Any = None
        for message in messages:
            error = message.error()
            if error is None:
                records.append(_record(message))
                self._positions[records[-1].partition] = records[-1].offset + 1
            elif error.code() == _END:
                self._positions[Partition(message.topic(), message.partition())] = message.offset()
            else:
                fault = error
        if not records:
            self._heard.check()
        if fault is not None and not records:
            raise ck.KafkaException(fault)
        return records

    def _forget(self, partitions: AbstractSet[Partition]) -> None:
        self._owned -= partitions
        self._paused -= partitions
        for partition in partitions:
            self._positions.pop(partition, None)


class _Producer:
    """See :class:`headrace.eventing.kafka.driver.Producer`."""

    def __init__(self, producer: Any, heard: _Heard, block: float) -> None:
        self._producer = producer
        self._heard = heard
        self._block = block
        self._places: list[Place | None] = []
        self._fault: Any = None

    def init_transactions(self) -> None:
        self._producer.init_transactions(self._block)

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send(self, record: OutgoingRecord, told: Callable[[Exception | None], None] | None = None) -> None:
        places, index = self._places, len(self._places)
        places.append(None)

        def delivered(error: Any, message: Any) -> None:
            if error is None:
                places[index] = (Partition(message.topic(), message.partition()), message.offset())
            elif self._places is places:
                self._fault = self._fault or error
            if told is not None:
                told(None if error is None else ck.KafkaException(error))

        self._produce(record, delivered)

    def flush(self, seconds: float | None = None) -> list[Place]:
        remaining = self._producer.flush(self._block if seconds is None else seconds)
        places, fault = self._places, self._fault
        self._places, self._fault = [], None
        if fault is not None:
            raise ck.KafkaException(fault)
        if remaining:
            self._heard.check()
            raise ck.KafkaException(ck.KafkaError(_TIMED_OUT, f"{remaining} records are not acknowledged"))
        return [place for place in places if place is not None]

    def send_offsets(self, done: Mapping[Partition, Committed], group: Membership) -> None:
        offsets = [ck.TopicPartition(*p, c.offset, c.metadata) for p, c in done.items()]
        self._producer.send_offsets_to_transaction(offsets, group.opaque, self._block)

    def commit(self) -> None:
        self._producer.commit_transaction(self._block)

    def abort(self) -> None:
        self._producer.abort_transaction(self._block)

    def close(self, seconds: float) -> None:
        self._producer.purge()
        self._producer.flush(seconds)

    def _produce(self, record: OutgoingRecord, delivered: Callable[[Any, Any], None]) -> None:
        deadline = time.monotonic() + self._block
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    on_delivery=delivered,
                )
            except BufferError:  # the client's own queue is full: make room
                if time.monotonic() >= deadline:
                    raise ck.KafkaException(ck.KafkaError(_TIMED_OUT, "the client's queue stays full")) from None
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return


def _connection(settings: KafkaSettings, heard: _Heard, client_id: str) -> dict[str, Any]:
    """The settings in librdkafka's words, for every client of its."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap,
        "security.protocol": settings.protocol,
        "client.id": client_id,
        "error_cb": heard.error,
    }
    if settings.tls:
        files = {"ssl.ca.location": settings.ca, "ssl.certificate.location": settings.certificate}
        files["ssl.key.location"] = settings.key
        config |= {name: str(path) for name, path in files.items() if path}
        if settings.key_password:
            config["ssl.key.password"] = settings.key_password
    if settings.sasl:
        config["sasl.mechanism"] = settings.mechanism
        if settings.oauth:
            source = TokenSource(settings.oauth)
            config["oauth_cb"] = lambda _: heard.token(source)
        else:
            config |= {"sasl.username": settings.user, "sasl.password": settings.password}
    return config


def _connect(client: Any, heard: _Heard, seconds: float) -> None:
    """Wait for the first connection: librdkafka itself would go on trying for ever, whatever the reason."""
    deadline = time.monotonic() + seconds
    while True:
        if client.cluster_id(0.2) is not None:
            return
        client.poll(0)
        heard.check()
        if time.monotonic() >= deadline:
            raise ck.KafkaException(ck.KafkaError(_TIMED_OUT, f"no broker answers within {seconds:g} s"))


def _translate(error: Any, what: str, settings: KafkaSettings) -> HeadraceError:
    detail = settings.redact(f"{what}: {error.name()}: {error.str()}")
    code = error.code()
    if code in _TOO_LARGE:
        return PayloadTooLargeError(detail, hint=words.TOO_LARGE_HINT)
    if code in _FENCED:
        return TakenOverError(detail, hint=words.FENCED_HINT)
    if code == _CODE.KAFKA_STORAGE_ERROR:
        return StorageFullError(detail, hint=words.STORAGE_HINT)
    if code in _LOGIN:
        return ConfigurationError(detail, hint=words.LOGIN_HINT)
    if code in _MISCONFIGURED:
        return ConfigurationError(detail)
    return words.unavailable(detail, settings)


def _partitions(raw: Iterable[Any]) -> set[Partition]:
    return {Partition(each.topic, each.partition) for each in raw}


def _raw(partitions: Iterable[Partition]) -> list[Any]:
    return [ck.TopicPartition(*partition) for partition in partitions]


def _record(message: Any) -> Record:
    partition = Partition(message.topic(), message.partition())
    kind, stamp = message.timestamp()
    timestamp = stamp if kind != ck.TIMESTAMP_NOT_AVAILABLE else -1
    headers = tuple(message.headers() or ())
    return Record(partition, message.offset(), timestamp, message.key(), message.value(), headers)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
