"""Kafka brokers and drivers for the suites: the embedded broker, and Apache Kafka where it is unpacked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from headrace.errors import UnavailableError
from headrace.eventing.kafka.settings import KafkaSettings
from headrace.eventing.kafka.topics import TopicSpec, create_topics, group_progress
from headrace.eventing.kafka.transaction import TransactionalWriter
from headrace.eventing.log import OutgoingRecord, Partition
from headrace.testing.broker import running_broker

from .apache import kafka_home, running_apache_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .apache import ApacheKafka

EVERY = ["embedded-kafka-python", "embedded-confluent", "apache-kafka-python", "apache-confluent"]
ONE_EACH = ["embedded-kafka-python", "apache-confluent"]


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``HOST:PORT`` of the embedded broker; tests name their own topics."""
    with running_broker(tmp_path_factory.mktemp("embedded")) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Apache Kafka with its listeners; tests name their own topics."""
    home = kafka_home()
    if home is None:
        pytest.skip("no Apache Kafka here: unpack it and set KAFKA_HOME; the embedded broker is tested all the same")
    with running_apache_kafka(home, tmp_path_factory.mktemp("apache")) as broker:
        _make_coordinators(broker.plaintext)
        yield broker


def _make_coordinators(kafka: str) -> None:
    """Have the topics of groups and transactions made: the first that asks for them waits, librdkafka for 20 s."""
    create_topics(kafka, [TopicSpec("first", 1)])
    writer = TransactionalWriter(KafkaSettings(kafka, driver="kafka-python"), "first")
    writer.write([OutgoingRecord("first", None, b"x")], {})
    writer.close()
    deadline = time.monotonic() + 60
    while True:
        try:
            group_progress(kafka, "first", [Partition("first", 0)])
        except UnavailableError:  # the topic is being made
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@pytest.fixture(params=EVERY)
def kafka(request: pytest.FixtureRequest) -> KafkaSettings:
    """Each broker by each driver."""
    return _settings(request)


@pytest.fixture(params=ONE_EACH)
def some_kafka(request: pytest.FixtureRequest) -> KafkaSettings:
    """Each broker and each driver once: for what takes seconds."""
    return _settings(request)


@pytest.fixture(params=["kafka-python", "confluent"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver."""
    name: str = request.param
    if name == "confluent":
        pytest.importorskip("confluent_kafka")
    return name


def _settings(request: pytest.FixtureRequest) -> KafkaSettings:
    broker, _, driver = str(request.param).partition("-")
    if driver == "confluent":
        pytest.importorskip("confluent_kafka")
    found = request.getfixturevalue(broker)
    return KafkaSettings(found if broker == "embedded" else found.plaintext, driver=driver)
