"""What a SIGKILL or a full disk at the worst moment leaves: everything acknowledged, and transactions whole."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import kafka
import pytest

from headrace.testing.broker import BrokerProcess, running_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

KILLED_IN_BETWEEN = """
import os, pathlib, signal, sys
from headrace.local.broker import EmbeddedBroker
from headrace.local.broker.server import new_event_loop

steps = []
def checkpoint(step):
    steps.append(step)
    if f"{step} {steps.count(step)}" == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

loop = new_event_loop()
broker = EmbeddedBroker(pathlib.Path(sys.argv[1]), checkpoint=checkpoint)
loop.run_until_complete(broker.start())
print(broker.bootstrap, flush=True)
loop.run_forever()
"""
UNSTABLE = 88
LINUX = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process: Linux only")
STEPS = ["end asked 1", "decided 1", "marker 1", "marker 2", "marker 3", "done 1"]
"""What happens while a transaction over three partitions ends, each with its count."""


def test_every_acknowledged_record_survives_sigkill(
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any
) -> None:
    """Kill the broker at any moment of a busy stream, several times: nothing acknowledged is missing."""
    acknowledged: list[bytes] = []
    with BrokerProcess(tmp_path) as broker:
        for attempt in range(3):
            wire = wires(broker.bootstrap)
            assert speak.metadata(wire, "t") == 0
            killer = threading.Timer(random.random() / 50, broker.kill)
            with suppress(ConnectionError):
                for number in count():
                    if number == 40:
                        killer.start()
                    value = f"{attempt}-{number}".encode() * 50
                    code, offset = speak.produce(wire, "t", batch(value))
                    assert (code, offset >= len(acknowledged)) == (0, True)
                    acknowledged.append(value)
            killer.join()
            broker.restart()
        assert len(acknowledged) >= 120
        found = set(read(broker.bootstrap, "t"))
    assert [one for one in acknowledged if one not in found] == []


def test_offsets_survive_sigkill(
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any
) -> None:
    """A group goes on where it committed right before the kill, and clients find the broker on the same port."""
    with BrokerProcess(tmp_path) as broker:
        address = broker.bootstrap
        wire = wires(address)
        speak.metadata(wire, "t")
        assert speak.produce(wire, "t", batch(b"a")) == (0, 0)
        assert speak.commit(wire, "g", "t", 1) == 0
        broker.kill()
        broker.restart()
        assert broker.bootstrap == address
        assert speak.fetch_offset(wires(address), "g", "t") == (1, 0)


def begin(speak: Any, wire: Any, batch: Callable[..., bytes]) -> tuple[str, int, int]:
    """A transaction with a record in each of three partitions and a group in it; the producer's identity."""
    identity = "tx", *speak.init(wire, "tx")
    for partition in range(3):
        assert speak.add(wire, *identity, "out", partition) == 0
        one = batch(b"%d" % partition, producer_id=identity[1], epoch=0, sequence=0, transactional=True)
        assert speak.produce(wire, "out", one, "tx", partition) == (0, 0)
    assert speak.add_group(wire, *identity, "g") == 0
    return identity


@pytest.mark.parametrize(
    ("step", "commit"), [*((step, True) for step in STEPS), ("decided 1", False), ("marker 2", False)]
)
def test_a_transaction_ends_whole_when_killed_in_between(  # noqa: PLR0917 - fixtures
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any, step: str, commit: bool
) -> None:
    """Killed at any step of ending a transaction over three partitions and an offset, all of it counts, or none.

    The decision is durable before the first step is over, so a commit that was killed is a commit after the restart.
    """
    with killed_at(tmp_path, step) as address:
        make_topics(address)
        wire = wires(address)
        identity = begin(speak, wire, batch)
        assert speak.offset(wire, *identity, "g", "in", 5) == 0
        assert speak.fetch_offset(wire, "g", "in") == (-1, 0)
        with pytest.raises(ConnectionError):
            speak.end(wire, *identity, commit=commit)

    with running_broker(tmp_path) as again:
        wire = wires(again)
        if step == STEPS[0]:
            assert read(again, "out", partitions=3, committed=True) == []
            assert speak.fetch_offset(wire, "g", "in", stable=True) == (-1, UNSTABLE), "no old offset meanwhile"
            assert speak.end(wire, *identity, commit=commit) == 0
        assert sorted(read(again, "out", partitions=3, committed=True)) == ([b"0", b"1", b"2"] if commit else [])
        assert speak.fetch_offset(wire, "g", "in", stable=True) == (5 if commit else -1, 0)
        assert speak.end(wire, *identity, commit=commit) == 0, "the same end again is answered the same"
        assert speak.end(wire, *identity, commit=not commit) == 48, "the other end is refused"


@pytest.mark.parametrize("step", ["offsets asked 1", "offsets added 1"])
def test_what_had_no_answer_is_sent_again(
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any, step: str
) -> None:
    """Killed around a TxnOffsetCommit: it, and records that are in the log already, are sent again and count once."""
    with killed_at(tmp_path, step) as address:
        make_topics(address)
        wire = wires(address)
        plain, _epoch = speak.init(wire, None)
        assert speak.produce(wire, "in", batch(b"i", producer_id=plain, epoch=0, sequence=0)) == (0, 0)
        assert speak.commit(wire, "g", "in", 0) == 0
        identity = begin(speak, wire, batch)
        with pytest.raises(ConnectionError):
            speak.offset(wire, *identity, "g", "in", 1)

    with running_broker(tmp_path) as again:
        wire = wires(again)
        assert speak.fetch_offset(wire, "g", "in", stable=True) == ((-1, UNSTABLE) if "added" in step else (0, 0))
        assert speak.produce(wire, "in", batch(b"i", producer_id=plain, epoch=0, sequence=0)) == (0, 0)
        repeat = batch(b"0", producer_id=identity[1], epoch=0, sequence=0, transactional=True)
        assert speak.produce(wire, "out", repeat, "tx") == (0, 0)
        assert speak.offset(wire, *identity, "g", "in", 1) == 0
        assert speak.fetch_offset(wire, "g", "in", stable=True) == (-1, UNSTABLE)
        assert speak.end(wire, *identity, commit=True) == 0
        assert speak.fetch_offset(wire, "g", "in", stable=True) == (1, 0)
        assert read(again, "in") == [b"i"]
        assert sorted(read(again, "out", partitions=3)) == [b"0", b"1", b"2"]


def test_generations_go_on_from_where_they_were(tmp_path: Path, wires: Callable[[str], Any], speak: Any) -> None:
    """After a kill a group begins above its former generations, or an old member's claims would be the latest."""
    generations: list[int] = []
    with BrokerProcess(tmp_path) as broker:
        for _ in range(3):
            wire = wires(broker.bootstrap)
            generations += [speak.join(wire, "g", version=3).generation_id]
            broker.kill()
            broker.restart()
    assert generations == sorted(set(generations))


def test_an_open_transaction_outlives_the_broker(
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any
) -> None:
    """Killed while a transaction is open, its producer goes on with it and commits; nobody saw it before."""
    with BrokerProcess(tmp_path) as broker:
        wire = wires(broker.bootstrap)
        speak.metadata(wire, "t")
        producer_id, epoch = speak.init(wire, "tx")
        speak.add(wire, "tx", producer_id, epoch, "t")
        sent = batch(b"a", producer_id=producer_id, epoch=epoch, sequence=0, transactional=True)
        assert speak.produce(wire, "t", sent, "tx") == (0, 0)
        broker.kill()
        broker.restart()
        assert read(broker.bootstrap, "t", committed=True) == []
        wire = wires(broker.bootstrap)
        assert speak.produce(wire, "t", sent, "tx") == (0, 0), "a repeat after the crash is no second record"
        more = batch(b"b", producer_id=producer_id, epoch=epoch, sequence=1, transactional=True)
        assert speak.produce(wire, "t", more, "tx") == (0, 1)
        assert speak.end(wire, "tx", producer_id, epoch, commit=True) == 0
        assert speak.end(wire, "tx", producer_id, epoch, commit=True) == 0, "the same end again is answered the same"
        assert read(broker.bootstrap, "t", committed=True) == [b"a", b"b"]


@LINUX
def test_a_full_disk_is_told_and_survived(
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any
) -> None:
    """Without room the producer gets KAFKA_STORAGE_ERROR; with room again the same broker goes on, nothing is torn."""
    with BrokerProcess(tmp_path) as broker:
        wire = wires(broker.bootstrap)
        speak.metadata(wire, "t")
        assert speak.produce(wire, "t", batch(b"before")) == (0, 0)
        _soft, hard = resource.prlimit(broker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (4096, hard))
        assert speak.produce(wire, "t", batch(os.urandom(20_000))) == (56, -1)
        assert (tmp_path / "topics" / "t" / "0" / "00000000000000000000.log").stat().st_size < 4096
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert speak.produce(wire, "t", batch(b"after")) == (0, 1)
        assert read(broker.bootstrap, "t") == [b"before", b"after"]
        broker.kill()
        broker.restart()
        assert read(broker.bootstrap, "t") == [b"before", b"after"]


@LINUX
def test_a_decided_transaction_waits_for_room(
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any
) -> None:
    """When the markers find no room, the end is retried by the broker itself and nobody sees half of it."""
    with BrokerProcess(tmp_path) as broker:
        wire = wires(broker.bootstrap)
        speak.metadata(wire, "t")
        producer_id, epoch = speak.init(wire, "tx")
        speak.commit(wire, "g", "t", 1)
        speak.add(wire, "tx", producer_id, epoch, "t")
        speak.add_group(wire, "tx", producer_id, epoch, "g")
        assert speak.offset(wire, "tx", producer_id, epoch, "g", "t", 7) == 0
        big = batch(os.urandom(9_000), producer_id=producer_id, epoch=epoch, sequence=0, transactional=True)
        assert speak.produce(wire, "t", big, "tx") == (0, 0)
        _soft, hard = resource.prlimit(broker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (8_000, hard))
        assert speak.end(wire, "tx", producer_id, epoch, commit=True) == 51
        assert read(broker.bootstrap, "t", committed=True) == []
        assert speak.fetch_offset(wire, "g", "t", stable=True) == (-1, UNSTABLE)
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (hard, hard))
        deadline = time.monotonic() + 10
        while len(found := read(broker.bootstrap, "t", committed=True)) < 1:
            assert time.monotonic() < deadline
        assert len(found[0]) == 9_000
        assert speak.fetch_offset(wire, "g", "t", stable=True) == (7, 0)


def test_exactly_once_over_kills(
    tmp_path: Path, wires: Callable[[str], Any], batch: Callable[..., bytes], speak: Any
) -> None:
    """A worker writes results in transactions with its position, and the broker is killed under it again and again.

    read_committed has every result once, in order.
    """
    steps = 120
    with BrokerProcess(tmp_path) as broker:
        for fatal in (1, 30, 60, 90):
            killer = threading.Timer(random.random() / 100, broker.kill)
            with suppress(ConnectionError):
                work(speak, wires(broker.bootstrap), batch, steps, {fatal: killer.start})
            killer.join()
            broker.restart()
        work(speak, wires(broker.bootstrap), batch, steps)
        assert read(broker.bootstrap, "out", committed=True) == [b"%d" % step for step in range(steps)]


def _nothing() -> None:
    """Before most steps."""


def work(
    speak: Any,
    wire: Any,
    batch: Callable[..., bytes],
    steps: int,
    before: Mapping[int, Callable[[], None]] | None = None,
) -> None:
    """Go on from the committed position until all is done; ``before`` a step, call what is given for it."""
    for topic in ("in", "out"):
        speak.metadata(wire, topic)
    identity = "worker", *speak.init(wire, "worker")
    position = max(0, speak.fetch_offset(wire, "g", "in", stable=True)[0])
    for sequence, step in enumerate(range(position, steps)):
        (before or {}).get(step, _nothing)()
        result = batch(b"%d" % step, producer_id=identity[1], epoch=identity[2], sequence=sequence, transactional=True)
        codes = [
            speak.add(wire, *identity, "out"),
            speak.produce(wire, "out", result, "worker")[0],
            speak.add_group(wire, *identity, "g"),
            speak.offset(wire, *identity, "g", "in", step + 1),
            speak.end(wire, *identity, commit=True),
        ]
        assert codes == [0] * 5


@contextmanager
def killed_at(data: Path, step: str) -> Iterator[str]:
    """A broker process that kills itself at a step, given with its count; waits for that."""
    command = [sys.executable, "-c", KILLED_IN_BETWEEN, str(data), step]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
            assert process.wait(20) == -signal.SIGKILL
        finally:
            process.kill()


def make_topics(address: str) -> None:
    """Topics ``in`` and ``out``, the latter with three partitions."""
    admin = kafka.KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics({"in": {"num_partitions": 1}, "out": {"num_partitions": 3}})
    admin.close()


def read(address: str, topic: str, *, partitions: int = 1, committed: bool = False) -> list[bytes]:
    """Every record that a reader sees now."""
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=address, isolation_level="read_committed" if committed else "read_uncommitted"
    )
    parts = [kafka.TopicPartition(topic, number) for number in range(partitions)]
    consumer.assign(parts)
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(parts)
    found: list[bytes] = []
    deadline = time.monotonic() + 10
    while any(consumer.position(one) < ends[one] for one in parts):
        assert time.monotonic() < deadline, "the reader does not reach the end"
        for records in consumer.poll(100).values():
            found += [one.value for one in records]
    consumer.close()
    return found
