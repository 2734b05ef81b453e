"""Administration: topics, configs, records, groups; with kafka-python's and librdkafka's admin clients."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import kafka
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel
from confluent_kafka import TopicPartition as Partition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from kafka.errors import (
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    TopicAlreadyExistsError,
    TransactionalIdNotFoundError,
    UnknownTopicOrPartitionError,
)

from headrace.testing.broker import BrokerSettings, running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def admin(bootstrap: str) -> Iterator[Any]:
    """kafka-python's admin client."""
    made = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)
    yield made
    made.close()


@pytest.fixture
def rdkafka(bootstrap: str) -> AdminClient:
    """Librdkafka's admin client."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def test_life_of_a_topic(admin: Any, topic: str) -> None:
    """Made, grown, described, deleted; each mistake has its own error."""
    admin.create_topics({topic: {"num_partitions": 2}})
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics({topic: {"num_partitions": 2}})
    with pytest.raises(InvalidReplicationFactorError):
        admin.create_topics({f"{topic}-3": {"num_partitions": 1, "replication_factor": 3}})
    with pytest.raises(InvalidTopicError):
        admin.create_topics({"no/slash": {"num_partitions": 1}})
    admin.create_partitions({topic: 5})
    with pytest.raises(InvalidPartitionsError):
        admin.create_partitions({topic: 5})
    described = admin.describe_topics([topic])[0]
    assert len(described["partitions"]) == 5
    admin.delete_topics([topic])
    with pytest.raises(UnknownTopicOrPartitionError):
        admin.delete_topics([topic])
    assert topic not in admin.list_topics()


def test_a_topic_made_anew_is_empty(
    bootstrap: str, rdkafka: AdminClient, client: Any, topic: str, message: Any
) -> None:
    """Nothing of a deleted topic comes back: no record, no offset of a group."""
    client.produce(topic, [message(b"old")] * 3)
    client.consume(topic, 3, group=f"g-{topic}")
    rdkafka.delete_topics([topic])[topic].result(10)
    rdkafka.create_topics([NewTopic(topic, 1)])[topic].result(10)
    assert client.produce(topic, [message(b"new")]) == [0]
    assert client.consume(topic, 1, group=f"g-{topic}") == [message(b"new")]


def test_topic_configs(rdkafka: AdminClient, topic: str) -> None:
    """Defaults are told, changes are kept, unknown names and values that cannot be honoured are refused."""
    rdkafka.create_topics([NewTopic(topic, 1, config={"retention.ms": "1000"})])[topic].result(10)
    resource = ConfigResource(ResourceType.TOPIC, topic)

    def configs() -> dict[str, tuple[str, bool]]:
        told = rdkafka.describe_configs([resource])[resource].result(10)
        return {name: (one.value, one.is_default) for name, one in told.items()}

    assert configs()["max.message.bytes"] == ("16777216", True)
    assert configs()["retention.ms"] == ("1000", False)

    def alter(name: str, value: str | None, operation: AlterConfigOpType = AlterConfigOpType.SET) -> None:
        change = ConfigEntry(name, value, incremental_operation=operation)
        wanted = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
        next(iter(rdkafka.incremental_alter_configs([wanted]).values())).result(10)

    alter("max.message.bytes", "2000")
    alter("retention.ms", None, AlterConfigOpType.DELETE)
    assert configs()["max.message.bytes"] == ("2000", False)
    assert configs()["retention.ms"] == ("-1", True)
    for name, value in (("no.such", "1"), ("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", "many")):
        with pytest.raises(Exception, match="INVALID_CONFIG"):
            alter(name, value)


def test_broker_configs(rdkafka: AdminClient) -> None:
    """What of the settings has a Kafka name is told under it."""
    resource = ConfigResource(ResourceType.BROKER, "1")
    told = rdkafka.describe_configs([resource])[resource].result(10)
    assert told["message.max.bytes"].value == "16777216"
    assert told["auto.create.topics.enable"].value == "true"


def test_batches_over_the_topics_limit_are_refused(tmp_path: Path, wires: Any, speak: Any, batch: Any) -> None:
    """The limit of the topic, over a restart too; the default is 16 MiB."""
    with running_broker(tmp_path) as address:
        admin = kafka.KafkaAdminClient(bootstrap_servers=address)
        admin.create_topics(
            {"small": {"num_partitions": 1, "configs": {"max.message.bytes": "300"}}, "big": {"num_partitions": 1}}
        )
        admin.close()
    with running_broker(tmp_path) as address:
        wire = wires(address)
        assert speak.produce(wire, "small", batch(b"x" * 300)) == (10, -1)
        assert speak.produce(wire, "small", batch(b"x" * 100)) == (0, 0)
        assert speak.produce(wire, "big", batch(b"x" * (16 * 1024 * 1024 - 100))) == (0, 0)
        assert speak.produce(wire, "big", batch(b"x" * (16 * 1024 * 1024))) == (10, -1)


def test_deleted_records_cannot_be_read(admin: Any, bootstrap: str, client: Any, topic: str, message: Any) -> None:
    """DeleteRecords moves the beginning; a reader from before it begins there."""
    client.produce(topic, [message(str(number).encode()) for number in range(5)])
    admin.delete_records({kafka.TopicPartition(topic, 0): 3})
    assert client.consume(topic, 2) == [message(b"3"), message(b"4")]


def test_offsets_by_spec(rdkafka: AdminClient, client: Any, topic: str, message: Any) -> None:
    """Earliest, latest, and the offset of the highest timestamp."""
    client.produce(topic, [message(b"a"), message(b"b")])
    partition = Partition(topic, 0)
    for spec, offset in ((OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 2)):
        told = rdkafka.list_offsets({partition: spec}, isolation_level=IsolationLevel.READ_COMMITTED)
        assert next(iter(told.values())).result(10).offset == offset
    told = rdkafka.list_offsets({partition: OffsetSpec.max_timestamp()})
    assert next(iter(told.values())).result(10).offset in {0, 1}


def test_life_of_a_group(admin: Any, rdkafka: AdminClient, client: Any, topic: str, message: Any) -> None:
    """Listed, described, its offsets changed and removed, deleted; one without members only."""
    group = f"g-{topic}"
    client.produce(topic, [message(b"a"), message(b"b")])
    client.consume(topic, 2, group=group)
    partition = kafka.TopicPartition(topic, 0)
    assert admin.list_group_offsets(group)[group][partition].offset == 2
    assert group in {one["group_id"] for one in admin.list_groups()}
    assert admin.describe_groups([group])[group]["group_state"] == "Empty"
    wanted = ConsumerGroupTopicPartitions(group, [Partition(topic, 0, 1)])
    rdkafka.alter_consumer_group_offsets([wanted])[group].result(10)
    assert admin.list_group_offsets(group)[group][partition].offset == 1
    admin.delete_group_offsets(group, [partition])
    assert partition not in admin.list_group_offsets(group)[group]
    client.consume(topic, 2, group=group)
    rdkafka.delete_consumer_groups([group])[group].result(10)
    assert group not in {one["group_id"] for one in admin.list_groups()}
    with pytest.raises(Exception, match="GROUP_ID_NOT_FOUND"):
        rdkafka.delete_consumer_groups([group])[group].result(10)


def test_a_group_with_members_is_not_deleted(  # noqa: PLR0917 - fixtures
    bootstrap: str, admin: Any, rdkafka: AdminClient, client: Any, topic: str, message: Any
) -> None:
    """Neither the group, nor its offsets in a topic that a member reads."""
    group = f"g-{topic}"
    client.produce(topic, [message(b"a")])
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    assert next(consumer).value == b"a"
    consumer.commit()
    with pytest.raises(Exception, match="NON_EMPTY_GROUP"):
        rdkafka.delete_consumer_groups([group])[group].result(10)
    described = rdkafka.describe_consumer_groups([group])[group].result(10)
    assert [len(one.assignment.topic_partitions) for one in described.members] == [1]
    refused = admin.delete_group_offsets(group, [kafka.TopicPartition(topic, 0)])
    assert "GroupSubscribedToTopic" in repr(refused)
    consumer.close()


def test_cluster(admin: Any, rdkafka: AdminClient, bootstrap: str) -> None:
    """One broker, at the address that clients were given."""
    host, _, port = bootstrap.rpartition(":")
    told = rdkafka.describe_cluster().result(10)
    assert [(one.host, one.port) for one in told.nodes] == [(host, int(port))]
    assert admin.describe_cluster()["cluster_id"] == told.cluster_id


def test_topics_are_made_when_named_unless_switched_off(tmp_path: Path, wires: Any, speak: Any) -> None:
    """By default with one partition; the settings choose another number, or none at all."""
    with running_broker(tmp_path / "on", BrokerSettings(default_partitions=3)) as address:
        assert speak.metadata(wires(address), "t") == 0
        admin = kafka.KafkaAdminClient(bootstrap_servers=address)
        assert len(admin.describe_topics(["t"])[0]["partitions"]) == 3
        admin.close()
    with running_broker(tmp_path / "off", BrokerSettings(auto_create_topics=False)) as address:
        wire = wires(address)
        assert speak.metadata(wire, f"t-{uuid.uuid4()}") == 3
        assert speak.metadata(wire, "not/allowed") == 3


def test_new_partitions_by_librdkafka(rdkafka: AdminClient, topic: str) -> None:
    """CreatePartitions of another client."""
    rdkafka.create_topics([NewTopic(topic, 1)])[topic].result(10)
    rdkafka.create_partitions([NewPartitions(topic, 3)])[topic].result(10)
    assert len(rdkafka.list_topics(topic, 10).topics[topic].partitions) == 3


def test_transactions_are_told(admin: Any, client: Any, topic: str, message: Any, transact: Any) -> None:
    """How the last one of a transactional id ended, in the list and described; an unknown one is an error."""
    name = f"tx-{topic}"
    for end, state in (("commit", "CompleteCommit"), ("abort", "CompleteAbort")):
        client.transact(name, topic, transact((message(b"x"),), end=end))
        assert admin.describe_transactions([name])[name].state.value == state
        listed = [one for some in admin.list_transactions().values() for one in some if one.transactional_id == name]
        assert [one.state.value for one in listed] == [state]
    with pytest.raises(TransactionalIdNotFoundError):
        admin.describe_transactions([f"no-{name}"])
