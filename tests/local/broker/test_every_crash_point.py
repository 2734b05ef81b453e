"""A crash after any single write, or in the middle of it, leaves transactions whole: all crash points, one by one.

A process that is killed leaves a prefix of what it wrote, over all files together. So each write of a scenario is
replaced by "write half of it into a copy of the folder, write it, and copy the folder"; and every copy is opened. The
segments are so small that every transaction goes over their borders. The scenario is a client's: its requests are
steps, and it sends the one that was not answered again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from kafka.record.default_records import DefaultRecordBatchBuilder

from headrace.local.broker import batches
from headrace.local.broker.codes import Code, Refusal
from headrace.local.broker.core import Core
from headrace.local.broker.ledger import Committed
from headrace.local.broker.recovery import no_checkpoint
from headrace.local.broker.settings import BrokerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.local.broker.log import PartitionLog

# Which file a descriptor stands for is asked of /proc.
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux only"),
    pytest.mark.usefixtures("unsynced"),
]
PARTITIONS = 2
ENDS = ["commit", "abandon", "abort", "exchange", "commit"]
"""How each transaction ends. One that is abandoned is left for the next instance of the producer to abort; exchange is
a producer that wants to begin anew (KIP-360)."""


SETTINGS = BrokerSettings(topic_defaults={"segment.bytes": "200"})
FILES = {"index kept", "segment begun"}
"""Steps of a log that change files by other means than a write."""


def open_core(data: Path, checkpoint: Callable[[str], None] = no_checkpoint) -> Core:
    return Core(data, SETTINGS, checkpoint)


def record(producer_id: int, epoch: int, sequence: int, *, transactional: bool) -> memoryview:
    builder = DefaultRecordBatchBuilder(2, 0, transactional, producer_id, epoch, sequence, 1 << 20)
    builder.append(0, 1, None, b"value", [])
    return memoryview(bytes(builder.build()))


@dataclass
class Client:
    """What a client knows; every method is one request, and is what it sends again when it got no answer."""

    producer_id: int = -1
    epoch: int = -1
    idempotent: int = -1
    """Producer id without transactions."""
    step: int = 0
    sequence: int = 0
    round: int = 0

    def create(self, core: Core, name: str, partitions: int) -> None:
        """CreateTopics; that it is there already is the answer that was lost."""
        try:
            core.catalogue.create(name, partitions, {})
        except Refusal as refusal:
            if refusal.code is not Code.TOPIC_ALREADY_EXISTS:
                raise

    def init(self, core: Core) -> None:
        """InitProducerId without a transactional id."""
        self.idempotent = core.ledger.new_producer_id()

    def identify(self, core: Core, former: tuple[int, int] = (-1, -1)) -> None:
        """InitProducerId, which aborts what was open."""
        self.producer_id, self.epoch = core.transactions.identify("tx", 60_000, *former)
        self.sequence = 0

    def produce(self, core: Core) -> None:
        """Produce without a transaction; the offset tells that nothing is there twice."""
        sent = record(self.idempotent, 0, self.round, transactional=False)
        assert core.catalogue.log("plain", 0).append(sent) == self.round

    def add(self, core: Core) -> None:
        """AddPartitionsToTxn."""
        partitions = [("out", index) for index in range(PARTITIONS)]
        core.transactions.add_partitions("tx", self.producer_id, self.epoch, partitions)

    def write(self, core: Core, partition: int) -> None:
        """Produce in the transaction."""
        core.transactions.check_write("tx", self.producer_id, self.epoch, ("out", partition))
        sent = record(self.producer_id, self.epoch, self.sequence, transactional=True)
        core.catalogue.log("out", partition).append(sent)

    def add_group(self, core: Core) -> None:
        """AddOffsetsToTxn."""
        core.transactions.add_group("tx", self.producer_id, self.epoch, "g")

    def add_offset(self, core: Core) -> None:
        """TxnOffsetCommit."""
        position = Committed(1 + ENDS[: self.round].count("commit"))
        core.transactions.add_offsets("tx", self.producer_id, self.epoch, "g", {("in", 0): position})

    def end(self, core: Core) -> None:
        """EndTxn, or a new instance that knows nothing of this transaction."""
        how = ENDS[self.round]
        if how in {"abandon", "exchange"}:
            self.identify(core, (self.producer_id, self.epoch) if how == "exchange" else (-1, -1))
        else:
            core.transactions.end("tx", self.producer_id, self.epoch, commit=how == "commit")
            self.sequence += 1
        self.round += 1

    def go_on(self, core: Core) -> None:
        """Do what is left."""
        steps = self.steps()
        while self.step < len(steps):
            steps[self.step](self, core)
            self.step += 1

    @staticmethod
    def steps() -> list[Callable[[Client, Core], None]]:
        """Every request, in order."""
        topics: list[Callable[[Client, Core], None]] = [
            lambda client, core, name=name, count=count: client.create(core, name, count)  # type: ignore[misc]  # binds the loop's values
            for name, count in (("in", 1), ("plain", 1), ("out", PARTITIONS))
        ]
        writes: list[Callable[[Client, Core], None]] = [
            lambda client, core, index=index: client.write(core, index)  # type: ignore[misc]  # binds the loop's value
            for index in range(PARTITIONS)
        ]
        each = [Client.produce, Client.add, *writes, Client.add_group, Client.add_offset, Client.end]
        return [*topics, Client.init, Client.identify, *(each * len(ENDS))]


class Crash(NamedTuple):
    """The data folder as a kill left it, and the client that waits for an answer."""

    data: Path
    client: Client


def seen(log: PartitionLog) -> tuple[int, int]:
    """Records in the log, and those of them that a read_committed reader gets."""
    every, visible, offset = 0, 0, 0
    while offset < log.end:
        part = log.find(offset, log.end, 1)
        header = batches.read_header(log.read(part))
        aborted = any(
            one.producer_id == header.producer_id and one.first <= header.base_offset < one.last for one in log.aborted
        )
        every += not header.is_control
        visible += not header.is_control and not aborted and header.base_offset < log.stable
        offset = part.end
    return every, visible


def offset_of(core: Core) -> int:
    return core.ledger.offsets.get("g", {}).get(("in", 0), Committed(0)).offset


@pytest.fixture
def crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Crash]:
    """Runs the scenario; gives a copy of the data folder for every crash point."""
    data, copies = tmp_path / "data", tmp_path / "copies"
    made: list[Crash] = []
    client = Client()
    real = os.pwrite

    def copied() -> Path:
        made.append(Crash(copies / str(len(made)), copy(client)))
        shutil.copytree(data, made[-1].data)
        return made[-1].data

    def pwrite(descriptor: int, content: bytes, at: int) -> int:
        if len(content) > 1:
            name = Path(f"/proc/self/fd/{descriptor}").readlink()
            with (copied() / os.path.relpath(name, data)).open("r+b") as torn:
                torn.seek(at)
                torn.write(memoryview(content)[: len(content) // 2])
        written = real(descriptor, content, at)
        copied()
        return written

    def checkpoint(step: str) -> None:
        if step in FILES:
            copied()

    async def main() -> None:
        core = open_core(data, checkpoint)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", pwrite)
            client.go_on(core)
        assert core.catalogue.log("out", 0).segments >= len(ENDS)
        core.close()

    asyncio.run(main())
    assert len(made) > 80
    return made


def test_every_crash_point_leaves_transactions_whole(crashes: list[Crash]) -> None:
    """After each, and after what a new instance of the producer aborts, outputs and offset tell the same count.

    What is decided is complete before the first request: no offset is left that hangs on it.
    """

    async def check(crash: Crash) -> int:
        open_core(crash.data).close()  # a start that is killed at once, behind its clean-up
        core = open_core(crash.data)
        core.transactions.recover()
        topic = core.catalogue.get("out")
        logs = topic.partitions if topic is not None else []
        offset = offset_of(core)
        assert {seen(log)[1] for log in logs} <= {offset}
        known = core.ledger.transactions.get("tx")
        assert known is None or known.decision is None
        core.transactions.identify("tx", 60_000, -1, -1)
        assert all(log.stable == log.end and seen(log)[1] == offset for log in logs)
        assert not core.ledger.pending_in("g")
        core.close()
        return offset

    counts = [asyncio.run(check(one)) for one in crashes]
    assert counts == sorted(counts), "what was committed once stays"
    assert counts[-1] == ENDS.count("commit")


def test_a_client_that_asks_again_does_nothing_twice(crashes: list[Crash]) -> None:
    """Whichever request the kill left without an answer: sent again after the restart it succeeds and has one effect.

    Producing (idempotent and in a transaction), committing offsets in a transaction, ending it, a higher epoch.
    """

    async def check(crash: Crash) -> None:
        core = open_core(crash.data)
        core.transactions.recover()
        crash.client.go_on(core)
        logs = [core.catalogue.log("out", index) for index in range(PARTITIONS)]
        assert {seen(log) for log in logs} == {(len(ENDS), ENDS.count("commit"))}
        assert offset_of(core) == ENDS.count("commit")
        assert seen(core.catalogue.log("plain", 0)) == (len(ENDS), len(ENDS))
        core.close()

    for one in crashes:
        asyncio.run(check(one))
