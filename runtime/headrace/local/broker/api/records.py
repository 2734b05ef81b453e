"""Records in and out: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.local.broker import batches
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.log import Found, Slice
from headrace.local.broker.messages import admin, consumer, producer

if TYPE_CHECKING:
    from headrace.local.broker.batches import Header
    from headrace.local.broker.core import Call, Core
    from headrace.local.broker.ledger import TopicPartition
    from headrace.local.broker.log import PartitionLog

_READ_COMMITTED = 1
_LATEST, _EARLIEST, _MAX_TIMESTAMP = -1, -2, -3
_ACKS = {-1, 0, 1}


def produce(core: Core, call: Call) -> Any:
    """Append the batches; None for ``acks=0``, which is not answered."""
    topics = producer.ProduceResponse.TopicProduceResponse
    responses = [
        topics(
            name=topic.name,
            partition_responses=[_produced(core, call, topic.name, one) for one in topic.partition_data],
        )
        for topic in call.request.topic_data
    ]
    return producer.ProduceResponse(responses=responses) if call.request.acks != 0 else None


def _produced(core: Core, call: Call, topic: str, sent: Any) -> Any:
    answer = producer.ProduceResponse.TopicProduceResponse.PartitionProduceResponse
    try:
        offset, start = _append(core, call, topic, sent)
    except Refusal as refusal:
        return answer(index=sent.index, error_code=refusal.code, base_offset=-1, error_message=refusal.message or None)
    return answer(index=sent.index, error_code=Code.NONE, base_offset=offset, log_start_offset=start)


def _append(core: Core, call: Call, topic: str, sent: Any) -> tuple[int, int]:
    if call.request.acks not in _ACKS:
        raise Refusal(Code.INVALID_REQUIRED_ACKS)
    log = core.catalogue.log(topic, sent.index)
    records = memoryview(sent.records or b"")
    if len(records) >= batches.HEADER_SIZE:
        header = batches.read_header(records)
        if header.is_transactional:
            _check_transaction(core, call.request.transactional_id, header, (topic, sent.index))
    return log.append(records), log.start


def _check_transaction(core: Core, transactional_id: str | None, header: Header, partition: TopicPartition) -> None:
    if not transactional_id:
        raise Refusal(Code.INVALID_TXN_STATE, "A transactional record batch comes with its transactional id")
    try:
        core.transactions.check_write(transactional_id, header.producer_id, header.producer_epoch, partition)
    except Refusal as refusal:
        if refusal.code is not Code.PRODUCER_FENCED:
            raise
        # Produce names a fenced producer by this code in every version.
        raise Refusal(Code.INVALID_PRODUCER_EPOCH, refusal.message) from refusal


class _Wanted(NamedTuple):
    topic: str
    partition: int
    offset: int


class _Ready(NamedTuple):
    wanted: _Wanted
    code: Code
    log: PartitionLog | None = None
    part: Slice = Slice((), 0, 0)


def fetch(core: Core, call: Call) -> Any:
    """Answer as soon as ``min_bytes`` are there or a partition has an error, at the latest after ``max_wait_ms``."""
    request = call.request
    ready = _look(core, request)
    # At once where possible: most fetches of a busy reader are, and need no task then.
    return _fetched(ready, request) if _suffices(ready, request) else _fetch_later(core, request)


async def _fetch_later(core: Core, request: Any) -> Any:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + request.max_wait_ms / 1000
    # Always looked anew: in the meantime, segments may have been deleted or compacted.
    while not _suffices(ready := _look(core, request), request):
        left = deadline - loop.time()
        if left <= 0:
            break
        await _append_anywhere([one.log for one in ready if one.log is not None], left)
    return _fetched(ready, request)


def _suffices(ready: list[_Ready], request: Any) -> bool:
    enough = sum(one.part.size for one in ready) >= request.min_bytes
    return enough or any(one.code for one in ready)


def _look(core: Core, request: Any) -> list[_Ready]:
    committed = request.isolation_level == _READ_COMMITTED
    left, found = request.max_bytes, False
    looked: list[_Ready] = []
    for topic in request.topics:
        for one in topic.partitions:
            wanted = _Wanted(topic.topic, one.partition, one.fetch_offset)
            ready = _find(core, wanted, min(one.partition_max_bytes, left), committed=committed, whole=not found)
            left -= ready.part.size
            found = found or ready.part.size > 0
            looked.append(ready)
    return looked


def _find(core: Core, wanted: _Wanted, most: int, *, committed: bool, whole: bool) -> _Ready:
    """Where the answer for one partition lies; ``whole``: the first batch is given, however large (KIP-74)."""
    try:
        log = core.catalogue.log(wanted.topic, wanted.partition)
    except Refusal as refusal:
        return _Ready(wanted, refusal.code)
    if not log.start <= wanted.offset <= log.end:
        return _Ready(wanted, Code.OFFSET_OUT_OF_RANGE, log)
    part = log.find(wanted.offset, log.stable if committed else log.end, max(most, 0))
    if part.size > most and not whole:
        part = Slice((), 0, wanted.offset)
    return _Ready(wanted, Code.NONE, log, part)


async def _append_anywhere(logs: list[PartitionLog], timeout: float) -> None:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(timeout, _resolve, waiter)
    for log in logs:
        log.watch(waiter)
    try:
        await waiter
    finally:
        timer.cancel()
        for log in logs:
            log.unwatch(waiter)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _fetched(ready: list[_Ready], request: Any) -> Any:
    committed = request.isolation_level == _READ_COMMITTED
    by_topic: dict[str, list[Any]] = {}
    for one in ready:
        by_topic.setdefault(one.wanted.topic, []).append(_fetched_partition(one, committed=committed))
    topics = consumer.FetchResponse.FetchableTopicResponse
    return consumer.FetchResponse(
        error_code=Code.NONE,
        # No sessions (KIP-227): every fetch names all that it wants.
        session_id=0,
        responses=[topics(topic=topic, partitions=partitions) for topic, partitions in by_topic.items()],
    )


def _fetched_partition(one: _Ready, *, committed: bool) -> Any:
    answer = consumer.FetchResponse.FetchableTopicResponse.PartitionData
    log = one.log
    if log is None:
        return answer(
            partition_index=one.wanted.partition,
            error_code=one.code,
            high_watermark=-1,
            aborted_transactions=None,
            records=b"",
        )
    aborted = None
    if committed:
        entry = answer.AbortedTransaction
        aborted = [
            entry(producer_id=each.producer_id, first_offset=each.first)
            for each in log.aborted_between(one.wanted.offset, one.part.end)
        ]
    return answer(
        partition_index=one.wanted.partition,
        error_code=one.code,
        high_watermark=log.end,
        last_stable_offset=log.stable,
        log_start_offset=log.start,
        aborted_transactions=aborted,
        records=log.read(one.part),
    )


def list_offsets(core: Core, call: Call) -> Any:
    """Offsets by time: earliest, latest, that of the highest timestamp, or the first at or after a time."""
    committed = call.request.isolation_level == _READ_COMMITTED
    topics = consumer.ListOffsetsResponse.ListOffsetsTopicResponse
    return consumer.ListOffsetsResponse(
        topics=[
            topics(
                name=topic.name,
                partitions=[_listed(core, topic.name, one, committed=committed) for one in topic.partitions],
            )
            for topic in call.request.topics
        ]
    )


def _listed(core: Core, topic: str, wanted: Any, *, committed: bool) -> Any:
    answer = consumer.ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse
    try:
        log = core.catalogue.log(topic, wanted.partition_index)
    except Refusal as refusal:
        return answer(partition_index=wanted.partition_index, error_code=refusal.code)
    found = _at_time(log, wanted.timestamp, committed=committed)
    return answer(
        partition_index=wanted.partition_index,
        error_code=Code.NONE,
        timestamp=found.timestamp,
        offset=found.offset,
        leader_epoch=0 if found.offset >= 0 else -1,
        old_style_offsets=[found.offset] if found.offset >= 0 else [],
    )


def _at_time(log: PartitionLog, timestamp: int, *, committed: bool) -> Found:
    if timestamp == _LATEST:
        return Found(log.stable if committed else log.end, -1)
    if timestamp == _EARLIEST:
        return Found(log.start, -1)
    found = log.find_latest_time() if timestamp == _MAX_TIMESTAMP else log.find_time(timestamp)
    return found if not committed or found.offset < log.stable else Found(-1, -1)


def offset_for_leader_epoch(core: Core, call: Call) -> Any:
    """Where the only leader epoch, 0, ends: at the end of the log."""
    topics = consumer.OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult

    def ended(topic: str, wanted: Any) -> Any:
        try:
            end, code = core.catalogue.log(topic, wanted.partition).end, Code.NONE
        except Refusal as refusal:
            end, code = -1, refusal.code
        return topics.EpochEndOffset(
            error_code=code, partition=wanted.partition, leader_epoch=-1 if code else 0, end_offset=end
        )

    return consumer.OffsetForLeaderEpochResponse(
        topics=[
            topics(topic=topic.topic, partitions=[ended(topic.topic, one) for one in topic.partitions])
            for topic in call.request.topics
        ]
    )


def delete_records(core: Core, call: Call) -> Any:
    """Make the records before an offset unreadable; -1 stands for the end of the log."""
    topics = admin.DeleteRecordsResponse.DeleteRecordsTopicResult

    def deleted(topic: str, wanted: Any) -> Any:
        answer = topics.DeleteRecordsPartitionResult
        try:
            log = core.catalogue.log(topic, wanted.partition_index)
            log.delete_before(log.end if wanted.offset == -1 else wanted.offset)
        except Refusal as refusal:
            return answer(partition_index=wanted.partition_index, low_watermark=-1, error_code=refusal.code)
        return answer(partition_index=wanted.partition_index, low_watermark=log.start, error_code=Code.NONE)

    return admin.DeleteRecordsResponse(
        topics=[
            topics(name=topic.name, partitions=[deleted(topic.name, one) for one in topic.partitions])
            for topic in call.request.topics
        ]
    )
