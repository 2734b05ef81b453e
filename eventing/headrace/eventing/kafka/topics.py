"""Kafka's administration, as far as Headrace needs it: topics, a group's progress, and members that leave."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove
from kafka.errors import TopicAlreadyExistsError

from headrace.eventing.kafka.driver import committed_of
from headrace.eventing.kafka.kafka_python import connection, faults
from headrace.eventing.kafka.settings import as_settings
from headrace.eventing.kafka.tls import check_files
from headrace.eventing.log import Partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Committed


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it ought to be."""

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
    """Kafka's topic settings, such as ``max.message.bytes``."""


def create_topics(kafka: KafkaSettings | str, topics: Iterable[TopicSpec]) -> None:
    """Create the topics that do not exist; those that do stay as they are.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: a name, a setting or the login is refused.
    """
    with _admin(kafka, "create topics") as admin:
        for topic in topics:
            _create(admin, topic)


def topic_names(kafka: KafkaSettings | str) -> set[str]:
    """The names of all topics.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: the login is refused.
    """
    with _admin(kafka, "list topics") as admin:
        return set(admin.list_topics())


def is_compacted(kafka: KafkaSettings | str, topic: str) -> bool:
    """Whether the topic keeps only the last record of each key; False where its settings may not be read.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: the login is refused.
    """
    asked = ConfigResource(ConfigResourceType.TOPIC, topic, ["cleanup.policy"])
    with _admin(kafka, f"read the settings of {topic}") as admin:
        found = admin.describe_configs([asked], config_filter="all")
    policy = found.get("topic", {}).get(topic, {}).get("cleanup.policy", {}).get("value")
    return "compact" in (policy or "").split(",")


def remove_member(kafka: KafkaSettings | str, group: str, *, name: str, member_id: str) -> None:
    """Take a named member out of its group, so that its partitions go to the others at once.

    Args:
        kafka: The cluster.
        group: The consumer group.
        name: The member's lasting name (``group.instance.id``).
        member_id: The id of its present life: a later life of that name stays.

    Raises:
        UnavailableError: no broker answers, or there is no such member.
    """
    with _admin(kafka, f"take {name} out of group {group}") as admin:
        admin.remove_group_members(group, [MemberToRemove(member_id=member_id, group_instance_id=name)])


def group_progress(
    kafka: KafkaSettings | str, group: str, partitions: Iterable[Partition]
) -> dict[Partition, Committed]:
    """What a group has committed; absent where it has nothing.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: the login is refused.
    """
    wanted = [TopicPartition(*partition) for partition in partitions]
    with _admin(kafka, f"read the progress of group {group}") as admin:
        found = admin.list_group_offsets({group: wanted})[group]
    known = {Partition(*raw): committed_of(each.offset, each.metadata) for raw, each in found.items()}
    return {partition: committed for partition, committed in known.items() if committed}


def offsets_at(kafka: KafkaSettings | str, partitions: Iterable[Partition], moment: int) -> dict[Partition, int]:
    """By partition, the offset of the first record of that time or later; absent where there is none.

    Args:
        kafka: The cluster.
        partitions: Partitions that are there.
        moment: Milliseconds since the epoch.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: the login is refused.
    """
    asked = {TopicPartition(*partition): moment for partition in partitions}
    with _admin(kafka, "find offsets by time") as admin:
        found = admin.list_partition_offsets(asked)
    return {Partition(*raw): known.offset for raw, known in found.items() if known is not None and known.offset >= 0}


@contextmanager
def _admin(kafka: KafkaSettings | str, what: str) -> Iterator[Any]:
    settings = as_settings(kafka)
    check_files(settings)
    with (
        faults(f"{what} in Kafka at {settings.bootstrap}", settings),
        closing(KafkaAdminClient(**connection(settings), client_id="headrace")) as admin,
    ):
        yield admin


def _create(admin: Any, topic: TopicSpec) -> None:
    options = {"num_partitions": topic.partitions, "replication_factor": -1, "configs": dict(topic.config)}
    try:
        admin.create_topics({topic.name: options}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return
