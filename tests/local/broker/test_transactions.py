"""Transactions, request by request: fencing, timeouts, and what is refused."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import confluent_kafka
import kafka
import pytest
from kafka.protocol.consumer import FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse

if TYPE_CHECKING:
    from collections.abc import Callable

ILLEGAL_GENERATION, UNKNOWN_MEMBER = 22, 25
INVALID_EPOCH, INVALID_STATE, INVALID_MAPPING, INVALID_TIMEOUT, UNSTABLE, FENCED = 47, 48, 49, 50, 88, 90


@pytest.fixture
def name() -> str:
    """A transactional id that no other test has."""
    return f"tx-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def wire(wires: Callable[[str], Any], bootstrap: str, topic: str, speak: Any) -> Any:
    """A connection to the shared broker, which has the test's topic."""
    made = wires(bootstrap)
    assert speak.metadata(made, topic) == 0
    return made


def fetch(wire: Any, topic: str, *, committed: bool = True) -> tuple[int, int, list[tuple[int, int]]]:
    """Bytes, last stable offset, and the aborted transactions that a fetch from 0 gets."""
    topics = FetchRequest.FetchTopic
    wanted = topics.FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
    request = FetchRequest(
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=1 << 20,
        isolation_level=int(committed),
        topics=[topics(topic=topic, partitions=[wanted])],
        forgotten_topics_data=[],
    )
    one = wire.call(request, FetchResponse, 11).responses[0].partitions[0]
    aborted = [(each.producer_id, each.first_offset) for each in one.aborted_transactions or ()]
    return len(one.records or b""), one.last_stable_offset, aborted


def test_a_new_instance_fences_the_old(wire: Any, topic: str, name: str, speak: Any, batch: Any) -> None:
    """InitProducerId aborts what the former instance left open, and the former can do nothing any more."""
    old = name, *speak.init(wire, name)
    assert speak.add(wire, *old, topic) == 0
    sent = batch(b"old", producer_id=old[1], epoch=old[2], sequence=0, transactional=True)
    assert speak.produce(wire, topic, sent, name) == (0, 0)
    new = name, *speak.init(wire, name)
    assert new[1] == old[1]
    assert new[2] > old[2]
    assert fetch(wire, topic)[1:] == (2, [(old[1], 0)])
    later = batch(b"zombie", producer_id=old[1], epoch=old[2], sequence=1, transactional=True)
    assert speak.produce(wire, topic, later, name) == (INVALID_EPOCH, -1)
    plain = batch(b"zombie", producer_id=old[1], epoch=old[2], sequence=1)
    assert speak.produce(wire, topic, plain) == (INVALID_EPOCH, -1), "the log knows it too"
    assert speak.add(wire, *old, topic) == FENCED
    assert speak.add_group(wire, *old, "g") == FENCED
    assert speak.end(wire, *old, commit=True) == FENCED
    assert speak.add(wire, *new, topic) == 0
    sent = batch(b"new", producer_id=new[1], epoch=new[2], sequence=0, transactional=True)
    assert speak.produce(wire, topic, sent, name) == (0, 2)
    assert speak.end(wire, *new, commit=True) == 0


def test_a_transaction_open_too_long_is_aborted(wire: Any, topic: str, name: str, speak: Any, batch: Any) -> None:
    """After its timeout it is aborted by the broker, and its producer is fenced."""
    identity = name, *speak.init(wire, name, 300)
    assert speak.add(wire, *identity, topic) == 0
    sent = batch(b"late", producer_id=identity[1], epoch=0, sequence=0, transactional=True)
    assert speak.produce(wire, topic, sent, name) == (0, 0)
    assert fetch(wire, topic)[:2] == (0, 0)
    deadline = time.monotonic() + 5
    while (seen := fetch(wire, topic))[1] == 0:
        assert time.monotonic() < deadline
    assert seen[2] == [(identity[1], 0)]
    assert speak.end(wire, *identity, commit=True) == FENCED


def test_what_does_not_belong_is_refused(wire: Any, topic: str, name: str, speak: Any, batch: Any) -> None:
    """No write without the partition added, none without the id, no end without a beginning, no odd timeout."""
    identity = name, *speak.init(wire, name)
    sent = batch(b"x", producer_id=identity[1], epoch=0, sequence=0, transactional=True)
    assert speak.produce(wire, topic, sent, name) == (INVALID_STATE, -1)
    assert speak.produce(wire, topic, sent) == (INVALID_STATE, -1)
    assert speak.produce(wire, topic, sent, f"no-{name}") == (INVALID_MAPPING, -1)
    assert speak.end(wire, *identity, commit=True) == INVALID_STATE
    assert speak.add(wire, name, identity[1] + 1, 0, topic) == INVALID_MAPPING
    assert speak.add(wire, *identity, f"no-{topic}") == 3
    assert speak.add(wire, *identity, topic, 1) == 3
    assert speak.offset(wire, *identity, "g", topic, 1) == INVALID_STATE
    assert speak.init(wire, "") == (-1, -42)
    assert speak.init(wire, name, 0) == (-1, -INVALID_TIMEOUT)
    assert speak.init(wire, name, 900_001) == (-1, -INVALID_TIMEOUT)
    assert fetch(wire, topic, committed=False)[0] == 0


def test_offsets_of_an_open_transaction_are_unstable(wire: Any, topic: str, name: str, speak: Any) -> None:
    """While it is open a stable fetch is told to wait, an ordinary one gets the last committed offset (KIP-447)."""
    group = f"g-{name}"
    identity = name, *speak.init(wire, name)
    assert speak.commit(wire, group, topic, 1) == 0
    assert speak.add_group(wire, *identity, group) == 0
    assert speak.offset(wire, *identity, group, topic, 7) == 0
    assert speak.fetch_offset(wire, group, topic) == (1, 0)
    assert speak.fetch_offset(wire, group, topic, stable=True) == (-1, UNSTABLE)
    assert speak.end(wire, *identity, commit=True) == 0
    assert speak.fetch_offset(wire, group, topic, stable=True) == (7, 0)


def test_a_member_that_lost_its_partitions_commits_nothing(wire: Any, topic: str, name: str, speak: Any) -> None:
    """Offsets of an older generation, or of a member that is out, do not enter the transaction (KIP-447)."""
    group = f"g-{name}"
    joined = speak.join(wire, group, version=3)
    member, generation = joined.member_id, joined.generation_id
    assert speak.sync(wire, group, member, generation, {member: b"all"}) == (0, b"all")
    identity = name, *speak.init(wire, name)
    assert speak.add_group(wire, *identity, group) == 0
    assert speak.offset(wire, *identity, group, topic, 5, member, generation) == 0
    assert speak.offset(wire, *identity, group, topic, 6, member, generation - 1) == ILLEGAL_GENERATION
    assert speak.offset(wire, *identity, group, topic, 7, "stranger", generation) == UNKNOWN_MEMBER
    assert speak.end(wire, *identity, commit=True) == 0
    assert speak.fetch_offset(wire, group, topic) == (5, 0)


def test_readers_stop_at_the_first_open_transaction(wire: Any, topic: str, speak: Any, batch: Any) -> None:
    """Two producers interleaved: read_committed goes up to the oldest open one, also for the end of the log."""
    first, second = (f"{topic}-{number}" for number in (1, 2))
    one, two = (first, *speak.init(wire, first)), (second, *speak.init(wire, second))
    for identity in (one, two):
        assert speak.add(wire, *identity, topic) == 0
        sent = batch(b"x", producer_id=identity[1], epoch=0, sequence=0, transactional=True)
        assert speak.produce(wire, topic, sent, identity[0])[0] == 0
    assert speak.end(wire, *two, commit=True) == 0
    assert fetch(wire, topic)[:2] == (0, 0)
    topics = ListOffsetsRequest.ListOffsetsTopic
    for level, end in ((0, 3), (1, 0)):
        request = ListOffsetsRequest(
            replica_id=-1,
            isolation_level=level,
            topics=[topics(name=topic, partitions=[topics.ListOffsetsPartition(partition_index=0, timestamp=-1)])],
        )
        assert wire.call(request, ListOffsetsResponse, 5).topics[0].partitions[0].offset == end
    assert speak.end(wire, *one, commit=False) == 0
    assert fetch(wire, topic)[1:] == (4, [(one[1], 0)])


def test_epochs_run_out_into_a_new_producer_id(
    wire: Any, name: str, speak: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last epoch, the transactional id gets another producer id, from epoch 0 on."""
    monkeypatch.setattr("headrace.local.broker.transactions._LAST_EPOCH", 2)
    given = [speak.init(wire, name) for _ in range(5)]
    assert [epoch for _, epoch in given] == [0, 1, 2, 0, 1]
    assert len({producer_id for producer_id, _ in given}) == 2


def test_a_higher_epoch_is_given_once(wire: Any, topic: str, name: str, speak: Any) -> None:
    """A producer that asks for a new epoch again, as it had no answer, gets the same; any other is fenced (KIP-360)."""
    first = speak.init(wire, name)
    assert speak.add(wire, name, *first, topic) == 0
    second = speak.init(wire, name, former=first)
    assert second[0] == first[0]
    assert second[1] > first[1]
    assert speak.init(wire, name, former=first) == second
    assert speak.add(wire, name, *second, topic) == 0
    assert speak.init(wire, name, former=first) == (-1, -FENCED), "it has its answer: it uses the epoch"
    third = speak.init(wire, name)
    assert speak.init(wire, name, former=second) == (-1, -FENCED), "another instance has taken over"
    assert speak.init(wire, name, former=third)[1] == third[1] + 1


@pytest.mark.parametrize("library", ["kafka-python", "confluent"])
def test_client_libraries_notice_that_they_are_fenced(bootstrap: str, topic: str, name: str, library: str) -> None:
    """The producer of the older instance gets a fencing error of its own library."""
    if library == "kafka-python":
        producers = [kafka.KafkaProducer(bootstrap_servers=bootstrap, transactional_id=name) for _ in range(2)]
        producers[0].init_transactions()
        producers[0].begin_transaction()
        producers[0].send(topic, b"x").get(10)
        producers[1].init_transactions()
        with pytest.raises((kafka.errors.ProducerFencedError, kafka.errors.InvalidProducerEpochError)):
            producers[0].commit_transaction()
        for producer in producers:
            producer.close(timeout=1)
        return
    config = {"bootstrap.servers": bootstrap, "transactional.id": name, "log_level": 0}
    zombie, fresh = confluent_kafka.Producer(config), confluent_kafka.Producer(config)
    zombie.init_transactions(10)
    zombie.begin_transaction()
    zombie.produce(topic, b"x")
    zombie.flush(10)
    fresh.init_transactions(10)
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        zombie.commit_transaction(10)
    assert refused.value.args[0].code() == confluent_kafka.KafkaError._FENCED
