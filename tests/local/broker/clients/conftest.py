"""Three Kafka clients behind one face."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any, Protocol

import confluent_kafka
import kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition as AioPartition
from typing_extensions import override

WAIT = 20.0


@dataclass(frozen=True, slots=True)
class Message:
    """A record, as every client knows it."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Transact:
    """A transaction to run: what it writes, which offset it commits, and how it ends."""

    messages: tuple[Message, ...]
    end: str = "commit"
    group: str = ""
    source: str = ""
    offset: int = 0


class Client(Protocol):
    """What the tests do with a client library; every call opens and closes its own connection."""

    def produce(
        self, topic: str, messages: list[Message], *, codec: str = "none", idempotent: bool = False
    ) -> list[int]:
        """Send, wait for every acknowledgement, return the offsets (partition 0 in the tests that look)."""

    def consume(self, topic: str, count: int, *, group: str = "", committed: bool = False) -> list[Message]:
        """Read ``count`` records of a topic from the group's position or the beginning, and commit."""

    def transact(self, transactional_id: str, topic: str, transaction: Transact) -> None:
        """Run one transaction."""

    def offset_at(self, topic: str, timestamp: int) -> int:
        """The offset of the first record at or after a time in milliseconds; -1 when there is none."""


class KafkaPython(Client):
    """kafka-python."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @override
    def produce(
        self, topic: str, messages: list[Message], *, codec: str = "none", idempotent: bool = False
    ) -> list[int]:
        producer = kafka.KafkaProducer(
            bootstrap_servers=self._bootstrap,
            compression_type=None if codec == "none" else codec,
            enable_idempotence=idempotent,
            acks="all",
            linger_ms=20,
        )
        try:
            sent = [producer.send(topic, one.value, one.key, list(one.headers)) for one in messages]
            return [one.get(WAIT).offset for one in sent]
        finally:
            producer.close()

    @override
    def consume(self, topic: str, count: int, *, group: str = "", committed: bool = False) -> list[Message]:
        consumer = kafka.KafkaConsumer(
            topic,
            bootstrap_servers=self._bootstrap,
            group_id=group or None,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed" if committed else "read_uncommitted",
        )
        got: list[Message] = []
        deadline = time.monotonic() + WAIT
        try:
            while len(got) < count and time.monotonic() < deadline:
                for records in consumer.poll(200, max_records=count - len(got)).values():
                    got += [Message(one.value, one.key, tuple(one.headers)) for one in records]
            if group:
                consumer.commit()
        finally:
            consumer.close()
        return got

    @override
    def transact(self, transactional_id: str, topic: str, transaction: Transact) -> None:
        producer = kafka.KafkaProducer(bootstrap_servers=self._bootstrap, transactional_id=transactional_id)
        try:
            producer.init_transactions()
            producer.begin_transaction()
            for one in transaction.messages:
                producer.send(topic, one.value, one.key)
            producer.flush(WAIT)  # an abort drops what was not sent yet
            if transaction.group:
                offsets = {
                    kafka.TopicPartition(transaction.source, 0): kafka.OffsetAndMetadata(transaction.offset, "", -1)
                }
                producer.send_offsets_to_transaction(
                    offsets, kafka.structs.ConsumerGroupMetadata(transaction.group, -1, "", None)
                )
            if transaction.end == "commit":
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        finally:
            producer.close()

    @override
    def offset_at(self, topic: str, timestamp: int) -> int:
        consumer = kafka.KafkaConsumer(bootstrap_servers=self._bootstrap)
        try:
            partition = kafka.TopicPartition(topic, 0)
            found = consumer.offsets_for_times({partition: timestamp})[partition]
            return found.offset if found is not None else -1
        finally:
            consumer.close()


class Confluent(Client):
    """confluent-kafka (librdkafka)."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def _config(self, **more: Any) -> dict[str, Any]:
        return {
            "bootstrap.servers": self._bootstrap,
            "log_level": 0,
            **{k.replace("_", "."): v for k, v in more.items()},
        }

    @override
    def produce(
        self, topic: str, messages: list[Message], *, codec: str = "none", idempotent: bool = False
    ) -> list[int]:
        producer = confluent_kafka.Producer(
            self._config(compression_type=codec, enable_idempotence=idempotent, linger_ms=20)
        )
        offsets: list[int] = []

        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            offsets.append(message.offset())

        for one in messages:
            producer.produce(topic, one.value, one.key, headers=list(one.headers), on_delivery=delivered)
        assert producer.flush(WAIT) == 0
        return offsets

    @override
    def consume(self, topic: str, count: int, *, group: str = "", committed: bool = False) -> list[Message]:
        consumer = confluent_kafka.Consumer(
            self._config(
                group_id=group or f"none-{uuid.uuid4()}",
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                isolation_level="read_committed" if committed else "read_uncommitted",
            )
        )
        consumer.subscribe([topic])
        got: list[Message] = []
        deadline = time.monotonic() + WAIT
        try:
            while len(got) < count and time.monotonic() < deadline:
                one = consumer.poll(0.2)
                if one is not None and one.error() is None:
                    got.append(Message(one.value(), one.key(), tuple(one.headers() or ())))
            if group:
                consumer.commit(asynchronous=False)
        finally:
            consumer.close()
        return got

    @override
    def transact(self, transactional_id: str, topic: str, transaction: Transact) -> None:
        producer = confluent_kafka.Producer(self._config(transactional_id=transactional_id))
        producer.init_transactions(WAIT)
        producer.begin_transaction()
        for one in transaction.messages:
            producer.produce(topic, one.value, one.key)
        producer.flush(WAIT)
        if transaction.group:
            consumer = confluent_kafka.Consumer(self._config(group_id=transaction.group))
            offset = confluent_kafka.TopicPartition(transaction.source, 0, transaction.offset)
            producer.send_offsets_to_transaction([offset], consumer.consumer_group_metadata(), WAIT)
            consumer.close()
        if transaction.end == "commit":
            producer.commit_transaction(WAIT)
        else:
            producer.abort_transaction(WAIT)

    @override
    def offset_at(self, topic: str, timestamp: int) -> int:
        consumer = confluent_kafka.Consumer(self._config(group_id="times"))
        try:
            wanted = confluent_kafka.TopicPartition(topic, 0, timestamp)
            return int(consumer.offsets_for_times([wanted], WAIT)[0].offset)
        finally:
            consumer.close()


class AioKafka(Client):
    """aiokafka."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @override
    def produce(
        self, topic: str, messages: list[Message], *, codec: str = "none", idempotent: bool = False
    ) -> list[int]:
        async def main() -> list[int]:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                compression_type=None if codec == "none" else codec,
                enable_idempotence=idempotent,
                linger_ms=20,
            )
            await producer.start()
            try:
                sent = [await producer.send(topic, one.value, one.key, headers=list(one.headers)) for one in messages]
                return [(await one).offset for one in sent]
            finally:
                await producer.stop()

        return asyncio.run(main())

    @override
    def consume(self, topic: str, count: int, *, group: str = "", committed: bool = False) -> list[Message]:
        async def main() -> list[Message]:
            consumer = AIOKafkaConsumer(
                topic,
                bootstrap_servers=self._bootstrap,
                group_id=group or None,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                isolation_level="read_committed" if committed else "read_uncommitted",
            )
            await consumer.start()
            got: list[Message] = []
            deadline = time.monotonic() + WAIT
            try:
                while len(got) < count and time.monotonic() < deadline:
                    for records in (await consumer.getmany(timeout_ms=200, max_records=count - len(got))).values():
                        got += [Message(one.value, one.key, tuple(one.headers)) for one in records]
                if group:
                    await consumer.commit()
            finally:
                await consumer.stop()
            return got

        return asyncio.run(main())

    @override
    def transact(self, transactional_id: str, topic: str, transaction: Transact) -> None:
        async def main() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, transactional_id=transactional_id)
            await producer.start()
            try:
                await producer.begin_transaction()
                for one in transaction.messages:
                    await producer.send(topic, one.value, one.key)
                if transaction.group:
                    await producer.send_offsets_to_transaction(
                        {AioPartition(transaction.source, 0): transaction.offset}, transaction.group
                    )
                if transaction.end == "commit":
                    await producer.commit_transaction()
                else:
                    await producer.abort_transaction()
            finally:
                await producer.stop()

        asyncio.run(main())

    @override
    def offset_at(self, topic: str, timestamp: int) -> int:
        async def main() -> int:
            consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
            await consumer.start()
            try:
                partition = AioPartition(topic, 0)
                found = (await consumer.offsets_for_times({partition: timestamp}))[partition]
                return int(found.offset) if found is not None else -1
            finally:
                await consumer.stop()

        return asyncio.run(main())


@pytest.fixture(params=[KafkaPython, Confluent, AioKafka])
def client(request: pytest.FixtureRequest, bootstrap: str) -> Client:
    """Each client library in turn, on the shared broker."""
    made: Client = request.param(bootstrap)
    return made


@pytest.fixture
def message() -> type[Message]:
    """The record type of the clients."""
    return Message


@pytest.fixture
def transact() -> type[Transact]:
    """The transaction type of the clients."""
    return Transact
