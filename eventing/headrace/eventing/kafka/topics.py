"""Kafka's administration, as far as Headrace needs it: topics, a group's progress, and members that leave."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError, TopicAlreadyExistsError

from headrace.eventing.kafka.faults import translate
from headrace.eventing.log import Committed, Partition

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


def remove_member(bootstrap: str, group: str, *, name: str, member_id: str) -> None:
    """Take a named member out of its group, so that its partitions go to the others at once.

    Args:
        bootstrap: ``HOST:PORT`` of the broker.
        group: The consumer group.
        name: The member's lasting name (``group.instance.id``).
        member_id: The id of its present life: a later life of that name stays.

    Raises:
        UnavailableError: no broker answers, or there is no such member.
    """
    try:
        with closing(_admin(bootstrap)) as admin:
            admin.remove_group_members(group, [MemberToRemove(member_id=member_id, group_instance_id=name)])
    except KafkaError as fault:
        raise translate(fault, f"take {name} out of group {group} of Kafka at {bootstrap}") from fault


def group_progress(bootstrap: str, group: str, partitions: Iterable[Partition]) -> dict[Partition, Committed]:
    """What a group has committed; absent where it has nothing.

    Raises:
        UnavailableError: no broker answers.
    """
    wanted = [TopicPartition(*partition) for partition in partitions]
    try:
        with closing(_admin(bootstrap)) as admin:
            found = admin.list_group_offsets({group: wanted})[group]
    except KafkaError as fault:
        raise translate(fault, f"read the progress of group {group} in Kafka at {bootstrap}") from fault
    return {Partition(*raw): Committed(c.offset, c.metadata or "") for raw, c in found.items() if c.offset >= 0}


def _admin(bootstrap: str) -> Any:
    return KafkaAdminClient(bootstrap_servers=bootstrap, client_id="headrace")


def _create(admin: Any, topic: TopicSpec) -> None:
    options = {"num_partitions": topic.partitions, "replication_factor": -1, "configs": dict(topic.config)}
    try:
        admin.create_topics({topic.name: options}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return
