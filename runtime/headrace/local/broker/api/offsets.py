"""Committed offsets of groups: OffsetCommit, OffsetFetch, OffsetDelete."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.ledger import Committed, TopicPartition
from headrace.local.broker.messages import ConsumerProtocolSubscription, consumer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.local.broker.core import Call, Core
    from headrace.local.broker.groups import Group

_BATCHED = 8
_NOTHING = Committed(-1)


def offset_commit(core: Core, call: Call) -> Any:
    """Commit offsets, for a member of the current generation, or for anyone while the group has no members."""
    request = call.request
    code = Code.NONE
    accepted: dict[TopicPartition, Committed] = {}
    codes: dict[TopicPartition, Code] = {}
    try:
        core.groups.found_or_made(request.group_id).check_commit(
            request.member_id, request.group_instance_id, request.generation_id_or_member_epoch
        )
        accepted, codes = sort_offsets(core, request.topics)
        if accepted:
            core.ledger.commit_offsets(request.group_id, accepted)
    except Refusal as refusal:
        code = refusal.code
    answer = consumer.OffsetCommitResponse.OffsetCommitResponseTopic
    partition = answer.OffsetCommitResponsePartition
    return consumer.OffsetCommitResponse(
        topics=[
            answer(
                name=topic.name,
                partitions=[
                    partition(
                        partition_index=one.partition_index,
                        error_code=code or codes.get((topic.name, one.partition_index), Code.NONE),
                    )
                    for one in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


def sort_offsets(
    core: Core, topics: Sequence[Any]
) -> tuple[dict[TopicPartition, Committed], dict[TopicPartition, Code]]:
    """The offsets of a commit that can be taken, and the codes of the others."""
    accepted: dict[TopicPartition, Committed] = {}
    codes: dict[TopicPartition, Code] = {}
    for topic in topics:
        known = core.catalogue.get(topic.name)
        count = len(known.partitions) if known is not None else 0
        for one in topic.partitions:
            key = (topic.name, one.partition_index)
            metadata = one.committed_metadata or ""
            if not 0 <= one.partition_index < count:
                codes[key] = Code.UNKNOWN_TOPIC_OR_PARTITION
            elif len(metadata.encode()) > core.settings.max_offset_metadata:
                codes[key] = Code.OFFSET_METADATA_TOO_LARGE
            else:
                accepted[key] = Committed(one.committed_offset, metadata)
    return accepted, codes


def offset_fetch(core: Core, call: Call) -> Any:
    """Committed offsets; with ``require_stable``, one that hangs on an open transaction is an error to retry."""
    request = call.request
    if call.version >= _BATCHED:
        group = consumer.OffsetFetchResponse.OffsetFetchResponseGroup
        topics = group.OffsetFetchResponseTopics
        return consumer.OffsetFetchResponse(
            groups=[
                group(
                    group_id=one.group_id,
                    topics=_fetched(
                        core,
                        one.group_id,
                        one.topics,
                        (topics, topics.OffsetFetchResponsePartitions),
                        stable=request.require_stable,
                    ),
                    error_code=Code.NONE,
                )
                for one in request.groups
            ]
        )
    topics = consumer.OffsetFetchResponse.OffsetFetchResponseTopic
    answers = (topics, topics.OffsetFetchResponsePartition)
    return consumer.OffsetFetchResponse(
        topics=_fetched(core, request.group_id, request.topics, answers, stable=request.require_stable),
        error_code=Code.NONE,
    )


def _fetched(
    core: Core, group_id: str, wanted: Sequence[Any] | None, answers: tuple[Any, Any], *, stable: bool
) -> list[Any]:
    topic_answer, partition_answer = answers
    offsets = core.ledger.offsets.get(group_id, {})
    pending = core.ledger.pending_in(group_id) if stable else set()
    keys: dict[str, list[int]] = {}
    if wanted is None:
        for topic, partition in sorted(offsets.keys() | pending):
            keys.setdefault(topic, []).append(partition)
    else:
        keys = {one.name: list(one.partition_indexes) for one in wanted}

    def fetched(key: TopicPartition) -> Any:
        committed = _NOTHING if key in pending else offsets.get(key, _NOTHING)
        return partition_answer(
            partition_index=key[1],
            committed_offset=committed.offset,
            committed_leader_epoch=-1,
            metadata=committed.metadata,
            error_code=Code.UNSTABLE_OFFSET_COMMIT if key in pending else Code.NONE,
        )

    return [
        topic_answer(name=topic, partitions=[fetched((topic, partition)) for partition in partitions])
        for topic, partitions in keys.items()
    ]


def offset_delete(core: Core, call: Call) -> Any:
    """Remove committed offsets in topics that no member of the group reads."""
    request = call.request
    group = core.groups.get(request.group_id)
    if group is None and request.group_id not in core.ledger.offsets:
        return consumer.OffsetDeleteResponse(error_code=Code.GROUP_ID_NOT_FOUND, topics=[])
    subscribed = _subscribed(group) if group is not None and group.members else set()
    keys = [(topic.name, one.partition_index) for topic in request.topics for one in topic.partitions]
    code = Code.NONE
    try:
        core.ledger.forget_offsets(request.group_id, [key for key in keys if key[0] not in subscribed])
    except Refusal as refusal:
        code = refusal.code
    answer = consumer.OffsetDeleteResponse.OffsetDeleteResponseTopic
    partition = answer.OffsetDeleteResponsePartition
    return consumer.OffsetDeleteResponse(
        error_code=code,
        topics=[
            answer(
                name=topic.name,
                partitions=[
                    partition(
                        partition_index=one.partition_index,
                        error_code=Code.GROUP_SUBSCRIBED_TO_TOPIC if topic.name in subscribed else Code.NONE,
                    )
                    for one in topic.partitions
                ],
            )
            for topic in request.topics
        ],
    )


def _subscribed(group: Group) -> set[str]:
    topics: set[str] = set()
    if group.protocol_type != "consumer":
        return topics
    for member in group.members.values():
        for metadata in member.metadata.values():
            # What a client writes here is between the clients: the codec raises whatever a wrong byte leads to.
            with suppress(Exception):
                topics.update(ConsumerProtocolSubscription.decode(metadata).topics)
    return topics
