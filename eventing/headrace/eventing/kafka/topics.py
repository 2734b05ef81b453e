"""Topics: create what is missing, look at what is there."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from headrace.eventing.kafka.faults import translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it ought to be."""

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
    """Kafka's topic settings, such as ``max.message.bytes``."""


def create_topics(bootstrap: str, topics: Iterable[TopicSpec]) -> None:
    """Create the topics that do not exist; those that do stay as they are.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: a name or a setting is refused.
    """
    try:
        with closing(_admin(bootstrap)) as admin:
            for topic in topics:
                _create(admin, topic)
    except KafkaError as fault:
        raise translate(fault, f"create topics in Kafka at {bootstrap}") from fault


def topic_names(bootstrap: str) -> set[str]:
    """The names of all topics.

    Raises:
        UnavailableError: no broker answers.
    """
    try:
        with closing(_admin(bootstrap)) as admin:
            return set(admin.list_topics())
    except KafkaError as fault:
        raise translate(fault, f"list topics of Kafka at {bootstrap}") from fault


def _admin(bootstrap: str) -> Any:
    return KafkaAdminClient(bootstrap_servers=bootstrap, client_id="headrace")


def _create(admin: Any, topic: TopicSpec) -> None:
    options = {"num_partitions": topic.partitions, "replication_factor": -1, "configs": dict(topic.config)}
    try:
        admin.create_topics({topic.name: options}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return
