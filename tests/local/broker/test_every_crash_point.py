"""A crash after any single write, or in the middle of it, leaves transactions whole: all crash points, one by one.

A process that is killed leaves a prefix of what it wrote, over all files together. So each write of a scenario is
replaced by "copy the folder, then write", once with half of the write in the copy; and every copy is opened.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kafka.record.default_records import DefaultRecordBatchBuilder

from headrace.local.broker import batches
from headrace.local.broker.core import Core
from headrace.local.broker.ledger import Committed
from headrace.local.broker.settings import BrokerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.local.broker.log import PartitionLog

# Which file a descriptor stands for is asked of /proc.
pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux only")
PARTITIONS = 3
ROUNDS = 5


def open_core(data: Path) -> Core:
    return Core(data, BrokerSettings(), lambda _step: None)


def record(producer_id: int, epoch: int, sequence: int) -> memoryview:
    builder = DefaultRecordBatchBuilder(2, 0, True, producer_id, epoch, sequence, 1 << 20)
    builder.append(0, 1, None, b"value", [])
    return memoryview(bytes(builder.build()))


def scenario(core: Core) -> None:
    """Transactions over three partitions and an offset; every third one is left for the next instance to abort."""
    core.catalogue.create("in", 1, {})
    core.catalogue.create("out", PARTITIONS, {})
    sequence = 0
    producer_id, epoch = core.transactions.identify("tx", 60_000, -1, -1)
    done = 0
    for number in range(ROUNDS):
        core.transactions.add_partitions("tx", producer_id, epoch, [("out", index) for index in range(PARTITIONS)])
        for index in range(PARTITIONS):
            core.catalogue.log("out", index).append(record(producer_id, epoch, sequence), 1 << 20)
        sequence += 1
        core.transactions.add_group("tx", producer_id, epoch, "g")
        core.transactions.add_offsets("tx", producer_id, epoch, "g", {("in", 0): Committed(done + 1)})
        if number % 3 == 1:
            producer_id, epoch = core.transactions.identify("tx", 60_000, -1, -1)
            sequence = 0
        else:
            core.transactions.end("tx", producer_id, epoch, commit=number % 3 == 0)
            done += number % 3 == 0


def visible(log: PartitionLog) -> int:
    """Records that a read_committed reader gets."""
    seen, offset = 0, 0
    while offset < log.stable:
        part = log.find(offset, log.stable, 1)
        header = batches.read_header(log.read(part))
        aborted = any(
            one.producer_id == header.producer_id and one.first <= header.base_offset < one.last for one in log.aborted
        )
        seen += not header.is_control and not aborted
        offset = part.end
    return seen


@pytest.fixture
def crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """Runs the scenario; gives a copy of the data folder for every crash point."""
    data, copies = tmp_path / "data", tmp_path / "copies"
    made: list[Path] = []
    real = os.pwrite

    def copied() -> Path:
        made.append(copies / str(len(made)))
        shutil.copytree(data, made[-1])
        return made[-1]

    def pwrite(descriptor: int, content: bytes, at: int) -> int:
        copied()
        if len(content) > 1:
            name = Path(f"/proc/self/fd/{descriptor}").readlink()
            with (copied() / os.path.relpath(name, data)).open("r+b") as torn:
                torn.seek(at)
                torn.write(memoryview(content)[: len(content) // 2])
        return real(descriptor, content, at)

    async def main() -> None:
        core = open_core(data)
        monkeypatch.setattr(os, "pwrite", pwrite)
        scenario(core)
        monkeypatch.undo()
        copied()
        core.close()

    def run() -> list[Path]:
        asyncio.run(main())
        return made

    return run


def test_every_crash_point_leaves_transactions_whole(crashes: Callable[[], list[Path]]) -> None:
    """After each, and after what a new instance of the producer aborts, outputs and offset tell the same count."""

    async def check(data: Path) -> int:
        open_core(data).close()  # a start that is killed at once, behind its clean-up
        core = open_core(data)
        core.transactions.recover()
        topic = core.catalogue.get("out")
        seen = {visible(log) for log in topic.partitions} if topic is not None else {0}
        offset = core.ledger.offsets.get("g", {}).get(("in", 0), Committed(0)).offset
        assert seen == {offset}
        core.transactions.identify("tx", 60_000, -1, -1)
        assert not topic or all(log.stable == log.end and visible(log) == offset for log in topic.partitions)
        core.close()
        return offset

    folders = crashes()
    counts = [asyncio.run(check(one)) for one in folders]
    assert len(folders) > 60
    assert counts == sorted(counts), "what was committed once stays"
    assert counts[-1] == 2
