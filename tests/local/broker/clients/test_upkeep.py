"""Retention, compaction and syncs of a running broker, as clients see them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from kafka.protocol import admin

from headrace.errors import ConfigurationError
from headrace.local.broker import BrokerSettings
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 20.0

# ruff: noqa: PLR0917 - the arguments of a test are its fixtures


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that looks after its logs all the time."""
    settings = BrokerSettings(retention_check_interval=0.05, sync_every=0.05)
    with running_broker(tmp_path_factory.mktemp("upkeep"), settings) as address:
        yield address


@pytest.fixture
def rdkafka(bootstrap: str) -> AdminClient:
    """The administration client of librdkafka."""
    return AdminClient({"bootstrap.servers": bootstrap})


def until(found: Callable[[], Any]) -> Any:
    """Wait for something to be true."""
    deadline = time.monotonic() + WAIT
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def sizes(wire: Any, topic: str) -> dict[int, int]:
    """Bytes of a topic's partitions."""
    wanted = admin.DescribeLogDirsRequest.DescribableLogDirTopic(topic=topic, partitions=[0, 1])
    answer = wire.call(admin.DescribeLogDirsRequest(topics=[wanted]), admin.DescribeLogDirsResponse, 4)
    (folder,) = answer.results
    assert folder.total_bytes >= folder.usable_bytes > 0
    return {one.partition_index: one.partition_size for named in folder.topics for one in named.partitions}


def test_a_compacted_topic_keeps_the_last_of_each_key_for_every_client(
    client: Any, rdkafka: AdminClient, wires: Callable[[str], Any], bootstrap: str, topic: str, message: Any
) -> None:
    """Ten values of each key are written compressed; the last of each is read, with its headers, and space is freed."""
    config = {"cleanup.policy": "compact", "segment.bytes": "2000", "min.cleanable.dirty.ratio": "0.01"}
    rdkafka.create_topics([NewTopic(topic, 1, config=config)])[topic].result(WAIT)
    sent = [message(os.urandom(80), b"key %d" % (number % 4), (("h", b"1"),)) for number in range(40)]
    for start in range(0, 40, 4):
        client.produce(topic, sent[start : start + 4], codec="gzip")
    client.produce(topic, [message(b"x" * 2000, b"end"), message(b"last", b"end")])
    client.produce(topic, [message(b"last", b"end")])
    wire = wires(bootstrap)
    until(lambda: sizes(wire, topic)[0] < 1200)
    got = client.consume(topic, 5)
    assert [one for one in got if one.key != b"end"] == sent[-4:]


def test_a_record_without_a_key_is_refused_by_a_compacted_topic(
    rdkafka: AdminClient, wires: Callable[[str], Any], bootstrap: str, topic: str, speak: Any, batch: Any
) -> None:
    """INVALID_RECORD, as Apache Kafka says; the policy can be appended to and subtracted from."""
    wire = wires(bootstrap)
    rdkafka.create_topics([NewTopic(topic, 1)])[topic].result(WAIT)

    def change(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        rdkafka.incremental_alter_configs([resource])[resource].result(WAIT)

    def policy() -> str | None:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        value = rdkafka.describe_configs([resource])[resource].result(WAIT)["cleanup.policy"].value
        return str(value)

    change(AlterConfigOpType.APPEND)
    assert policy() == "delete,compact"
    assert speak.produce(wire, topic, batch(b"no key"))[0] == 87
    change(AlterConfigOpType.SUBTRACT)
    assert policy() == "delete"
    assert speak.produce(wire, topic, batch(b"no key")) == (0, 0)


def test_old_records_go_on_their_own_and_readers_go_on(
    client: Any, rdkafka: AdminClient, wires: Callable[[str], Any], bootstrap: str, topic: str, message: Any
) -> None:
    """With ``retention.ms`` set later, what is too old goes; offsets go on from where they were."""
    rdkafka.create_topics([NewTopic(topic, 2)])[topic].result(WAIT)
    wire = wires(bootstrap)
    client.produce(topic, [message(b"old")] * 5)
    assert sum(sizes(wire, topic).values()) > 0
    entry = ConfigEntry("retention.ms", "200", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    rdkafka.incremental_alter_configs([resource])[resource].result(WAIT)
    until(lambda: set(sizes(wire, topic).values()) == {0})
    entry = ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    rdkafka.incremental_alter_configs([resource])[resource].result(WAIT)
    client.produce(topic, [message(b"new")])
    assert client.consume(topic, 1) == [message(b"new")]


def test_all_folders_are_described(wires: Callable[[str], Any], bootstrap: str, speak: Any, topic: str) -> None:
    """Without names, every partition of every topic is described, in the one folder."""
    wire = wires(bootstrap)
    speak.metadata(wire, topic)
    for version in (1, 2, 3, 4):
        answer = wire.call(admin.DescribeLogDirsRequest(topics=None), admin.DescribeLogDirsResponse, version)
        (folder,) = answer.results
        assert topic in [one.name for one in folder.topics]
        assert Path(folder.log_dir).is_absolute()


def test_syncs_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wires: Callable[[str], Any], speak: Any, batch: Any
) -> None:
    """No acknowledgement waits for the disk, and soon after everything is on it; then the disk is left alone."""
    synced: list[str] = []
    home = f"{tmp_path.resolve()}/"
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = os.path.realpath(f"/proc/self/fd/{descriptor}")
        if path.startswith(home):  # other tests' brokers sync in this process too
            synced.append(path)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with running_broker(tmp_path, BrokerSettings(sync_every=0.02)) as address:
        wire = wires(address)
        speak.metadata(wire, "t")
        speak.produce(wire, "t", batch(b"v"))
        speak.commit(wire, "g", "t", 1)
        until(lambda: any(one.endswith(".log") for one in synced) and any(one.endswith("journal") for one in synced))
        logs = [one for one in synced if one.endswith(".log")]
        assert len(logs) == 1, "what has not changed is not synced again"


def test_defaults_of_topics_come_from_the_settings(tmp_path: Path) -> None:
    """A topic without configs has the broker's; a wrong one stops the start, and is named."""
    settings = BrokerSettings(topic_defaults={"retention.ms": "1234"})
    with running_broker(tmp_path, settings) as address:
        rdkafka = AdminClient({"bootstrap.servers": address})
        rdkafka.create_topics([NewTopic("t", 1)])["t"].result(WAIT)
        for kind, name, config in (
            (ResourceType.TOPIC, "t", "retention.ms"),
            (ResourceType.BROKER, "1", "log.retention.ms"),
        ):
            resource = ConfigResource(kind, name)
            assert rdkafka.describe_configs([resource])[resource].result(WAIT)[config].value == "1234"
    with (
        pytest.raises(ConfigurationError, match=r"retention\.ms"),
        running_broker(tmp_path, BrokerSettings(topic_defaults={"retention.ms": "soon"})),
    ):
        pass
