"""Producer ids and transactions: begin, write, commit offsets, end, describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.local.broker.api.offsets import sort_offsets
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.ledger import STATES
from headrace.local.broker.messages import admin, producer

if TYPE_CHECKING:
    from headrace.local.broker.core import Call, Core
    from headrace.local.broker.ledger import TopicPartition

# From these versions on, clients know PRODUCER_FENCED; before, the same is called INVALID_PRODUCER_EPOCH.
_INIT_KNOWS_FENCED = 4
_KNOWS_FENCED = 2
_OFFSETS_NAME_MEMBER = 3


def init_producer_id(core: Core, call: Call) -> Any:
    """A producer id for an idempotent producer, or id and epoch of a transactional one."""
    request = call.request
    try:
        if request.transactional_id is None:
            producer_id, epoch = core.ledger.new_producer_id(), 0
        else:
            producer_id, epoch = core.transactions.identify(
                request.transactional_id, request.transaction_timeout_ms, request.producer_id, request.producer_epoch
            )
    except Refusal as refusal:
        code = _told(refusal, known=call.version >= _INIT_KNOWS_FENCED)
        return producer.InitProducerIdResponse(error_code=code, producer_id=-1, producer_epoch=-1)
    return producer.InitProducerIdResponse(error_code=Code.NONE, producer_id=producer_id, producer_epoch=epoch)


def add_partitions(core: Core, call: Call) -> Any:
    """Make partitions part of a transaction, all or none."""
    request = call.request
    topics = request.v3_and_below_topics
    wanted = [(topic.name, partition) for topic in topics for partition in topic.partitions]
    unknown = {one for one in wanted if not _exists(core, one)}
    code = Code.OPERATION_NOT_ATTEMPTED if unknown else Code.NONE
    if not unknown:
        try:
            core.transactions.add_partitions(
                request.v3_and_below_transactional_id,
                request.v3_and_below_producer_id,
                request.v3_and_below_producer_epoch,
                wanted,
            )
        except Refusal as refusal:
            code = _told(refusal, known=call.version >= _KNOWS_FENCED)
    answer = producer.AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult
    partition_answer = answer.AddPartitionsToTxnPartitionResult
    return producer.AddPartitionsToTxnResponse(
        results_by_topic_v3_and_below=[
            answer(
                name=topic.name,
                results_by_partition=[
                    partition_answer(
                        partition_index=partition,
                        partition_error_code=Code.UNKNOWN_TOPIC_OR_PARTITION
                        if (topic.name, partition) in unknown
                        else code,
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in topics
        ]
    )


def _exists(core: Core, partition: TopicPartition) -> bool:
    topic = core.catalogue.get(partition[0])
    return topic is not None and 0 <= partition[1] < len(topic.partitions)


def add_offsets(core: Core, call: Call) -> Any:
    """Make a group's offsets part of a transaction."""
    request = call.request
    code = Code.NONE
    try:
        core.groups.found_or_made(request.group_id)
        core.transactions.add_group(
            request.transactional_id, request.producer_id, request.producer_epoch, request.group_id
        )
    except Refusal as refusal:
        code = _told(refusal, known=call.version >= _KNOWS_FENCED)
    return producer.AddOffsetsToTxnResponse(error_code=code)


def txn_offset_commit(core: Core, call: Call) -> Any:
    """Add offsets that come into force with the commit; a member of an older generation is refused (KIP-447)."""
    request = call.request
    code = Code.NONE
    codes: dict[TopicPartition, Code] = {}
    try:
        if call.version >= _OFFSETS_NAME_MEMBER and (request.member_id or request.generation_id >= 0):
            core.groups.found_or_made(request.group_id).check_commit(
                request.member_id, request.group_instance_id, request.generation_id
            )
        accepted, codes = sort_offsets(core, request.topics)
        core.transactions.add_offsets(
            request.transactional_id, request.producer_id, request.producer_epoch, request.group_id, accepted
        )
    except Refusal as refusal:
        # No version of this response knows PRODUCER_FENCED.
        code = _told(refusal, known=False)
    answer = producer.TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic
    partition = answer.TxnOffsetCommitResponsePartition
    return producer.TxnOffsetCommitResponse(
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


def end_txn(core: Core, call: Call) -> Any:
    """Commit or abort a transaction; when this is answered without an error, it has happened for every reader."""
    request = call.request
    code = Code.NONE
    try:
        core.transactions.end(
            request.transactional_id, request.producer_id, request.producer_epoch, commit=request.committed
        )
    except Refusal as refusal:
        code = _told(refusal, known=call.version >= _KNOWS_FENCED)
    return producer.EndTxnResponse(error_code=code)


def _told(refusal: Refusal, *, known: bool) -> Code:
    if refusal.code is Code.PRODUCER_FENCED and not known:
        return Code.INVALID_PRODUCER_EPOCH
    return refusal.code


def describe_transactions(core: Core, call: Call) -> Any:
    """State of transactional ids, and the partitions of their open transactions (KIP-664)."""
    return admin.DescribeTransactionsResponse(
        transaction_states=[_described(core, name) for name in call.request.transactional_ids]
    )


def _described(core: Core, transactional_id: str) -> Any:
    answer = admin.DescribeTransactionsResponse.TransactionState
    one = core.ledger.transactions.get(transactional_id)
    if one is None:
        return answer(
            error_code=Code.TRANSACTIONAL_ID_NOT_FOUND,
            transactional_id=transactional_id,
            transaction_state="",
            topics=[],
        )
    partitions: dict[str, list[int]] = {}
    for topic, partition in sorted(one.partitions):
        partitions.setdefault(topic, []).append(partition)
    return answer(
        error_code=Code.NONE,
        transactional_id=one.id,
        transaction_state=one.state,
        transaction_timeout_ms=one.timeout,
        transaction_start_time_ms=-1,
        producer_id=one.producer_id,
        producer_epoch=one.epoch,
        topics=[answer.TopicData(topic=topic, partitions=numbers) for topic, numbers in partitions.items()],
    )


def list_transactions(core: Core, call: Call) -> Any:
    """Every transactional id, or those in the states and of the producers asked for (KIP-664)."""
    states, producers = set(call.request.state_filters), set(call.request.producer_id_filters)
    answer = admin.ListTransactionsResponse.TransactionState
    return admin.ListTransactionsResponse(
        error_code=Code.NONE,
        unknown_state_filters=sorted(states - STATES),
        transaction_states=[
            answer(transactional_id=one.id, producer_id=one.producer_id, transaction_state=one.state)
            for one in core.ledger.transactions.values()
            if (not states or one.state in states) and (not producers or one.producer_id in producers)
        ],
    )
