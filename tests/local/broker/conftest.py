"""A broker for the tests that only need one, and raw connections that say what no client library lets a test say."""

from __future__ import annotations

import os
import socket
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from headrace.testing.broker import running_broker  # first: it imports kafka without its deprecation warnings

from kafka.protocol import consumer, metadata, producer  # isort: skip
from kafka.record.default_records import DefaultRecordBatchBuilder  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 20.0

# ruff: noqa: PLR0917 - Speak has the fields of the requests as arguments


class Wire:
    """One raw connection that speaks kafka-python's codecs: for what client libraries do not let a test say."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT)
        self._correlation = 0

    def send(self, request: Any, version: int) -> None:
        """Send a request, without waiting for its response."""
        self._correlation += 1
        request.API_VERSION = version
        request.with_header(correlation_id=self._correlation, client_id="wire")
        self._socket.sendall(request.encode(header=True, framed=True))

    def receive(self, response: Any, version: int) -> Any:
        """Read the next response."""
        size = int.from_bytes(self._exactly(4), "big")
        return response.decode(self._exactly(size), version=version, header=True)

    def call(self, request: Any, response: Any, version: int) -> Any:
        """Send a request and read its response."""
        self.send(request, version)
        return self.receive(response, version)

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def is_closed_by_peer(self) -> bool:
        """Wait for the broker to close the connection."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def shut(self) -> None:
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def drain(self) -> None:
        """Read until the broker closes the connection."""
        try:
            while self._socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionResetError("the broker closed the connection")
            data += part
        return bytes(data)


@pytest.fixture
def wires() -> Iterator[Callable[[str], Wire]]:
    """Makes raw connections, and closes them at the end."""
    made: list[Wire] = []

    def make(bootstrap: str) -> Wire:
        made.append(Wire(bootstrap))
        return made[-1]

    yield make
    for one in made:
        one.close()


def record_batch(
    *values: bytes, producer_id: int = -1, epoch: int = -1, sequence: int = -1, transactional: bool = False
) -> bytes:
    """A record batch as a producer sends it."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=transactional,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        batch_size=1 << 20,
    )
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1_000 + offset, key=None, value=value, headers=[])
    return bytes(builder.build())


@pytest.fixture
def batch() -> Callable[..., bytes]:
    """Builds record batches."""
    return record_batch


class Speak:
    """Requests of one line, each with its answer reduced to codes and numbers."""

    @staticmethod
    def metadata(wire: Wire, topic: str) -> int:
        """Name a topic, so that it is made; its error code."""
        request = metadata.MetadataRequest(
            topics=[metadata.MetadataRequest.MetadataRequestTopic(name=topic)], allow_auto_topic_creation=True
        )
        return int(wire.call(request, metadata.MetadataResponse, 5).topics[0].error_code)

    @staticmethod
    def init(
        wire: Wire, transactional_id: str | None, timeout: int = 60_000, *, former: tuple[int, int] = (-1, -1)
    ) -> tuple[int, int]:
        """A producer id and epoch, in exchange for former ones; -1 and the negative code when refused."""
        request = producer.InitProducerIdRequest(
            transactional_id=transactional_id,
            transaction_timeout_ms=timeout,
            producer_id=former[0],
            producer_epoch=former[1],
        )
        answer = wire.call(request, producer.InitProducerIdResponse, 4)
        return (answer.producer_id, answer.producer_epoch) if not answer.error_code else (-1, -answer.error_code)

    @staticmethod
    def add(wire: Wire, transactional_id: str, producer_id: int, epoch: int, topic: str, partition: int = 0) -> int:
        """Add a partition to a transaction; the error code."""
        topics = producer.AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction.AddPartitionsToTxnTopic
        request = producer.AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=transactional_id,
            v3_and_below_producer_id=producer_id,
            v3_and_below_producer_epoch=epoch,
            v3_and_below_topics=[topics(name=topic, partitions=[partition])],
        )
        answer = wire.call(request, producer.AddPartitionsToTxnResponse, 3)
        return int(answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code)

    @staticmethod
    def add_group(wire: Wire, transactional_id: str, producer_id: int, epoch: int, group: str) -> int:
        """Add a group to a transaction; the error code."""
        request = producer.AddOffsetsToTxnRequest(
            transactional_id=transactional_id, producer_id=producer_id, producer_epoch=epoch, group_id=group
        )
        return int(wire.call(request, producer.AddOffsetsToTxnResponse, 3).error_code)

    @staticmethod
    def offset(
        wire: Wire,
        transactional_id: str,
        producer_id: int,
        epoch: int,
        group: str,
        topic: str,
        offset: int,
        member: str = "",
        generation: int = -1,
    ) -> int:
        """Commit an offset in a transaction; the error code."""
        topics = producer.TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        partition = topics.TxnOffsetCommitRequestPartition(
            partition_index=0, committed_offset=offset, committed_metadata=None
        )
        request = producer.TxnOffsetCommitRequest(
            transactional_id=transactional_id,
            group_id=group,
            producer_id=producer_id,
            producer_epoch=epoch,
            generation_id=generation,
            member_id=member,
            topics=[topics(name=topic, partitions=[partition])],
        )
        answer = wire.call(request, producer.TxnOffsetCommitResponse, 3)
        return int(answer.topics[0].partitions[0].error_code)

    @staticmethod
    def fetch_offset(wire: Wire, group: str, topic: str, *, stable: bool = False) -> tuple[int, int]:
        """The committed offset of partition 0, and the error code."""
        groups = consumer.OffsetFetchRequest.OffsetFetchRequestGroup
        request = consumer.OffsetFetchRequest(
            groups=[
                groups(group_id=group, topics=[groups.OffsetFetchRequestTopics(name=topic, partition_indexes=[0])])
            ],
            require_stable=stable,
        )
        answer = wire.call(request, consumer.OffsetFetchResponse, 8).groups[0].topics[0].partitions[0]
        return answer.committed_offset, answer.error_code

    @staticmethod
    def produce(
        wire: Wire, topic: str, records: bytes, transactional_id: str | None = None, partition: int = 0
    ) -> tuple[int, int]:
        """Send a batch; error code and base offset."""
        topics = producer.ProduceRequest.TopicProduceData
        request = producer.ProduceRequest(
            transactional_id=transactional_id,
            acks=-1,
            timeout_ms=5000,
            topic_data=[
                topics(name=topic, partition_data=[topics.PartitionProduceData(index=partition, records=records)])
            ],
        )
        answer = wire.call(request, producer.ProduceResponse, 8).responses[0].partition_responses[0]
        return answer.error_code, answer.base_offset

    @staticmethod
    def end(wire: Wire, transactional_id: str, producer_id: int, epoch: int, *, commit: bool) -> int:
        """End a transaction; the error code."""
        request = producer.EndTxnRequest(
            transactional_id=transactional_id, producer_id=producer_id, producer_epoch=epoch, committed=commit
        )
        return int(wire.call(request, producer.EndTxnResponse, 3).error_code)

    @staticmethod
    def join(wire: Wire, group: str, **fields: Any) -> Any:
        """Join a group and wait for the answer."""
        Speak.send_join(wire, group, **fields)
        return wire.receive(consumer.JoinGroupResponse, fields.get("version", 5))

    @staticmethod
    def send_join(
        wire: Wire,
        group: str,
        *,
        member: str = "",
        instance: str | None = None,
        session: int = 10_000,
        rebalance: int = 10_000,
        protocols: dict[str, bytes] | None = None,
        version: int = 5,
    ) -> None:
        """Join a group, without waiting."""
        protocol = consumer.JoinGroupRequest.JoinGroupRequestProtocol
        request = consumer.JoinGroupRequest(
            group_id=group,
            session_timeout_ms=session,
            rebalance_timeout_ms=rebalance,
            member_id=member,
            group_instance_id=instance,
            protocol_type="consumer",
            protocols=[protocol(name=name, metadata=data) for name, data in (protocols or {"range": b"m"}).items()],
        )
        wire.send(request, version)

    @staticmethod
    def sync(
        wire: Wire, group: str, member: str, generation: int, assignments: dict[str, bytes], instance: str | None = None
    ) -> tuple[int, bytes]:
        """Sync; error code and assignment."""
        one = consumer.SyncGroupRequest.SyncGroupRequestAssignment
        request = consumer.SyncGroupRequest(
            group_id=group,
            generation_id=generation,
            member_id=member,
            group_instance_id=instance,
            assignments=[one(member_id=name, assignment=data) for name, data in assignments.items()],
        )
        answer = wire.call(request, consumer.SyncGroupResponse, 3)
        return answer.error_code, bytes(answer.assignment)

    @staticmethod
    def heartbeat(wire: Wire, group: str, member: str, generation: int, instance: str | None = None) -> int:
        """Heartbeat; the error code."""
        request = consumer.HeartbeatRequest(
            group_id=group, generation_id=generation, member_id=member, group_instance_id=instance
        )
        return int(wire.call(request, consumer.HeartbeatResponse, 3).error_code)

    @staticmethod
    def leave(wire: Wire, group: str, member: str, instance: str | None = None) -> int:
        """Leave; the error code."""
        one = consumer.LeaveGroupRequest.MemberIdentity
        request = consumer.LeaveGroupRequest(
            group_id=group, members=[one(member_id=member, group_instance_id=instance)]
        )
        return int(wire.call(request, consumer.LeaveGroupResponse, 3).members[0].error_code)

    @staticmethod
    def commit(
        wire: Wire, group: str, topic: str, offset: int, member: str = "", generation: int = -1, metadata: str = ""
    ) -> int:
        """Commit an offset of partition 0; the error code."""
        topics = consumer.OffsetCommitRequest.OffsetCommitRequestTopic
        partition = topics.OffsetCommitRequestPartition(
            partition_index=0, committed_offset=offset, committed_metadata=metadata
        )
        request = consumer.OffsetCommitRequest(
            group_id=group,
            generation_id_or_member_epoch=generation,
            member_id=member,
            topics=[topics(name=topic, partitions=[partition])],
        )
        return int(wire.call(request, consumer.OffsetCommitResponse, 7).topics[0].partitions[0].error_code)


@pytest.fixture
def speak() -> type[Speak]:
    """Requests of one line over a raw connection."""
    return Speak


@pytest.fixture(scope="module")
def unsynced() -> Iterator[None]:
    """Files are not synced in this process: what these tests do to them ends no power, and a disk may be slow."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _descriptor: None)
        patched.setattr(os, "fdatasync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One broker for all tests that do not care what else is in it."""
    with running_broker(tmp_path_factory.mktemp("broker")) as address:
        yield address


@pytest.fixture
def topic() -> str:
    """A topic name that no other test has."""
    return f"topic-{uuid.uuid4().hex[:12]}"
