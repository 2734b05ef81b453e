"""Consumer groups: who is in, who assigns, who is put out, and what a client is told."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import confluent_kafka
import kafka
import pytest
from aiokafka import AIOKafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.protocol.admin import DescribeGroupsRequest, DescribeGroupsResponse
from kafka.protocol.consumer import JoinGroupResponse, SyncGroupRequest, SyncGroupResponse

from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ILLEGAL_GENERATION, UNKNOWN_MEMBER, REBALANCE, MEMBER_ID_REQUIRED, FENCED = 22, 25, 27, 79, 82
WAIT = 20.0
READER = """
import sys, kafka
consumer = kafka.KafkaConsumer(
    sys.argv[2], bootstrap_servers=sys.argv[1], group_id=sys.argv[3], session_timeout_ms=1000, heartbeat_interval_ms=200
)
while not consumer.assignment():
    consumer.poll(100)
print("in", flush=True)
while True:
    consumer.poll(100)
"""


@pytest.fixture
def group() -> str:
    """A group id that no other test has."""
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def four(bootstrap: str, topic: str) -> str:
    """A topic with four partitions."""
    admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({topic: {"num_partitions": 4}})
    admin.close()
    return topic


def until(condition: Callable[[], bool], poll: Callable[[], object], what: str) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, what
        poll()


@pytest.mark.parametrize("assignor", [RangePartitionAssignor, CooperativeStickyAssignor], ids=["eager", "cooperative"])
def test_two_members_share_and_take_over(bootstrap: str, four: str, group: str, assignor: type) -> None:
    """kafka-python: a second member gets half of the partitions; when it leaves, the first has all again."""

    def consumer() -> Any:
        return kafka.KafkaConsumer(
            four,
            bootstrap_servers=bootstrap,
            group_id=group,
            partition_assignment_strategy=[assignor],
            heartbeat_interval_ms=100,
            enable_auto_commit=False,
        )

    first = consumer()
    until(lambda: len(first.assignment()) == 4, lambda: first.poll(50), "the first member gets everything")
    second = consumer()

    def both() -> None:
        first.poll(50)
        second.poll(50)

    until(lambda: (len(first.assignment()), len(second.assignment())) == (2, 2), both, "they share")
    assert not first.assignment() & second.assignment()
    second.close()
    until(lambda: len(first.assignment()) == 4, lambda: first.poll(50), "the first takes over")
    first.close()


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_two_librdkafka_members(bootstrap: str, four: str, group: str, strategy: str) -> None:
    """confluent-kafka: the same, eager and cooperative."""
    config = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "partition.assignment.strategy": strategy,
        "heartbeat.interval.ms": 100,
        "log_level": 0,
    }
    first, second = confluent_kafka.Consumer(config), confluent_kafka.Consumer(config)
    first.subscribe([four])
    until(lambda: len(first.assignment()) == 4, lambda: first.poll(0.05), "the first member gets everything")
    second.subscribe([four])

    def both() -> None:
        first.poll(0.05)
        second.poll(0.05)

    until(lambda: (len(first.assignment()), len(second.assignment())) == (2, 2), both, "they share")
    second.close()
    until(lambda: len(first.assignment()) == 4, lambda: first.poll(0.05), "the first takes over")
    first.close()


def test_two_aiokafka_members(bootstrap: str, four: str, group: str) -> None:
    """aiokafka: the same."""

    async def main() -> None:
        def consumer() -> AIOKafkaConsumer:
            return AIOKafkaConsumer(four, bootstrap_servers=bootstrap, group_id=group, heartbeat_interval_ms=100)

        first, second = consumer(), consumer()
        await first.start()
        await second.start()
        deadline = time.monotonic() + WAIT
        while (len(first.assignment()), len(second.assignment())) != (2, 2):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await second.stop()
        while len(first.assignment()) != 4:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await first.stop()

    asyncio.run(main())


def test_a_killed_member_is_out_after_its_session(bootstrap: str, four: str, group: str) -> None:
    """A member that dies without a word loses its partitions when its session ends."""
    with subprocess.Popen(
        [sys.executable, "-c", READER, bootstrap, four, group], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "in\n"
            survivor = kafka.KafkaConsumer(
                four, bootstrap_servers=bootstrap, group_id=group, heartbeat_interval_ms=100, enable_auto_commit=False
            )
            until(lambda: len(survivor.assignment()) == 2, lambda: survivor.poll(50), "they share")
            process.send_signal(signal.SIGKILL)
            until(lambda: len(survivor.assignment()) == 4, lambda: survivor.poll(50), "the survivor takes over")
            survivor.close()
        finally:
            process.kill()


def test_first_join_gets_an_id(bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any) -> None:
    """From version 4 on, a client takes its member id first and joins with it (KIP-394); it then leads alone."""
    wire = wires(bootstrap)
    asked = speak.join(wire, group)
    assert asked.error_code == MEMBER_ID_REQUIRED
    joined = speak.join(wire, group, member=asked.member_id)
    assert (joined.error_code, joined.leader, joined.member_id) == (0, asked.member_id, asked.member_id)
    assert [one.member_id for one in joined.members] == [asked.member_id]
    assert speak.sync(wire, group, asked.member_id, joined.generation_id, {asked.member_id: b"mine"}) == (0, b"mine")
    assert speak.heartbeat(wire, group, asked.member_id, joined.generation_id) == 0
    assert speak.heartbeat(wire, group, asked.member_id, joined.generation_id + 1) == ILLEGAL_GENERATION
    assert speak.heartbeat(wire, group, "stranger", joined.generation_id) == UNKNOWN_MEMBER
    assert speak.leave(wire, group, asked.member_id) == 0
    assert speak.heartbeat(wire, group, asked.member_id, joined.generation_id) == UNKNOWN_MEMBER


def test_a_silent_member_is_out(bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any) -> None:
    """Without heartbeats for the session timeout, a member is unknown, though its connection is open."""
    wire = wires(bootstrap)
    joined = lead(speak, wire, group, session=300)
    assert speak.heartbeat(wire, group, joined.member_id, joined.generation_id) == 0
    described = wires(bootstrap)
    deadline = time.monotonic() + 5
    while state(described, group)[1]:
        assert time.monotonic() < deadline
    assert state(described, group) == ("Dead", 0)
    assert speak.heartbeat(wire, group, joined.member_id, joined.generation_id) == UNKNOWN_MEMBER


def test_members_are_told_to_join_again(bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any) -> None:
    """While a second member waits, the first hears of the rebalance by its heartbeat; one that stays away is out."""
    first, second = wires(bootstrap), wires(bootstrap)
    leader = lead(speak, first, group, rebalance=600)
    speak.send_join(second, group, version=3, rebalance=600)
    deadline = time.monotonic() + 5
    while (code := speak.heartbeat(first, group, leader.member_id, leader.generation_id)) == 0:
        assert time.monotonic() < deadline
    assert code == REBALANCE
    joined = second_join(second)
    assert (joined.error_code, joined.generation_id) == (0, leader.generation_id + 1)
    assert joined.leader == joined.member_id, "the former leader did not come in time"
    assert speak.heartbeat(first, group, leader.member_id, leader.generation_id) == UNKNOWN_MEMBER


def test_who_waits_for_the_leader_is_told_of_a_new_rebalance(
    bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any
) -> None:
    """A follower that waits for its assignment does not wait on when another member joins."""
    wired = [wires(bootstrap) for _ in range(3)]
    for wire in wired[:2]:
        speak.send_join(wire, group, version=3)
    answers = [second_join(wire) for wire in wired[:2]]
    follower = next(index for index, one in enumerate(answers) if one.leader != one.member_id)
    one = answers[follower]
    wired[follower].send(
        SyncGroupRequest(
            group_id=group,
            generation_id=one.generation_id,
            member_id=one.member_id,
            group_instance_id=None,
            assignments=[],
        ),
        3,
    )
    speak.send_join(wired[2], group, version=3)
    assert wired[follower].receive(SyncGroupResponse, 3).error_code == REBALANCE


def test_a_member_that_leaves_holds_up_nobody(
    bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any
) -> None:
    """When the one that a rebalance waits for leaves, the others go on at once."""
    first, second = wires(bootstrap), wires(bootstrap)
    leader = lead(speak, first, group, rebalance=60_000)
    speak.send_join(second, group, version=3)
    deadline = time.monotonic() + 5
    while speak.heartbeat(first, group, leader.member_id, leader.generation_id) == 0:
        assert time.monotonic() < deadline
    assert speak.leave(first, group, leader.member_id) == 0
    joined = second_join(second)
    assert (joined.error_code, joined.leader) == (0, joined.member_id)


def test_a_static_member_keeps_its_place(bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any) -> None:
    """A static member that restarts gets its assignment back without a rebalance; its former self is fenced."""
    wire, again = wires(bootstrap), wires(bootstrap)
    joined = speak.join(wire, group, instance="one")
    assert joined.error_code == 0
    assignment = {joined.member_id: b"mine"}
    assert speak.sync(wire, group, joined.member_id, joined.generation_id, assignment, "one") == (0, b"mine")
    back = speak.join(again, group, instance="one")
    assert (back.error_code, back.generation_id) == (0, joined.generation_id)
    assert back.member_id != joined.member_id
    assert back.leader == joined.member_id, "so that it does not assign anew"
    assert speak.sync(again, group, back.member_id, back.generation_id, {}, "one") == (0, b"mine")
    assert speak.heartbeat(wire, group, joined.member_id, joined.generation_id, "one") == FENCED
    assert speak.leave(again, group, "", "one") == 0
    assert speak.heartbeat(again, group, back.member_id, back.generation_id, "one") == UNKNOWN_MEMBER


def test_assignors_in_common_win(bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any) -> None:
    """The group takes an assignor that all have; a member that has none of them is refused."""
    first, second, third = (wires(bootstrap) for _ in range(3))
    speak.send_join(first, group, version=3, protocols={"a": b"1a", "b": b"1b"})
    speak.send_join(second, group, version=3, protocols={"b": b"2b"})
    answers = [second_join(first), second_join(second)]
    assert {one.protocol_name for one in answers} == {"b"}
    members = next(one.members for one in answers if one.leader == one.member_id)
    assert {bytes(one.metadata) for one in members} == {b"1b", b"2b"}
    assert speak.join(third, group, version=3, protocols={"c": b""}).error_code == 23


def test_who_may_commit(bootstrap: str, topic: str, group: str, wires: Callable[[str], Any], speak: Any) -> None:
    """Anyone commits for an empty group; with members, only a member of the current generation does."""
    wire = wires(bootstrap)
    speak.metadata(wire, topic)
    assert speak.commit(wire, group, topic, 3) == 0
    joined = lead(speak, wire, group)
    assert speak.commit(wire, group, topic, 9) == UNKNOWN_MEMBER
    assert speak.commit(wire, group, topic, 9, joined.member_id, 99) == ILLEGAL_GENERATION
    assert speak.fetch_offset(wire, group, topic) == (3, 0)
    assert speak.commit(wire, group, topic, 4, joined.member_id, joined.generation_id, "é" * 2048) == 0
    assert speak.commit(wire, group, topic, 5, joined.member_id, joined.generation_id, "é" * 2049) == 12
    assert speak.commit(wire, group, f"no-{topic}", 5, joined.member_id, joined.generation_id) == 3
    assert speak.fetch_offset(wire, group, topic) == (4, 0)
    assert speak.leave(wire, group, joined.member_id) == 0
    assert speak.commit(wire, group, topic, 7) == 0


def test_a_member_whose_connection_is_gone_does_not_block_the_rest(
    bootstrap: str, group: str, wires: Callable[[str], Any], speak: Any
) -> None:
    """A client that dies while it waits in a join is dropped after its session, and the others go on."""
    first, dead, third = (wires(bootstrap) for _ in range(3))
    leader = lead(speak, first, group, session=10_000)
    speak.send_join(dead, group, version=3, session=300)
    deadline = time.monotonic() + 5
    while speak.heartbeat(first, group, leader.member_id, leader.generation_id) == 0:
        assert time.monotonic() < deadline
    dead.close()
    while state(third, group)[1] == 2:
        assert time.monotonic() < deadline
    joined = speak.join(first, group, member=leader.member_id)
    assert (joined.error_code, len(joined.members)) == (0, 1)


def test_an_empty_group_survives_a_restart(tmp_path: Path, wires: Callable[[str], Any], speak: Any) -> None:
    """Its offsets, and itself in the list of groups."""
    with running_broker(tmp_path) as address:
        wire = wires(address)
        speak.metadata(wire, "t")
        speak.commit(wire, "g", "t", 42, metadata="where I was")
    with running_broker(tmp_path) as address:
        wire = wires(address)
        assert speak.fetch_offset(wire, "g", "t") == (42, 0)
        assert state(wire, "g") == ("Empty", 0)
        admin = kafka.KafkaAdminClient(bootstrap_servers=address)
        assert admin.list_group_offsets("g")["g"][kafka.TopicPartition("t", 0)].metadata == "where I was"
        admin.close()


def lead(speak: Any, wire: Any, group: str, **fields: Any) -> Any:
    """Join as the only member and assign."""
    joined = speak.join(wire, group, version=3, **fields)
    assert joined.error_code == 0
    assert speak.sync(wire, group, joined.member_id, joined.generation_id, {joined.member_id: b"all"})[0] == 0
    return joined


def second_join(wire: Any) -> Any:
    """The answer to a join that was sent before."""
    return wire.receive(JoinGroupResponse, 3)


def state(wire: Any, group: str) -> tuple[str, int]:
    """State and number of members of a group."""
    one = wire.call(DescribeGroupsRequest(groups=[group]), DescribeGroupsResponse, 4).groups[0]
    return one.group_state, len(one.members)
