"""Compaction and crashes: at every step, readers learn the same last value of every key, transactions included."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headrace.local.broker.log import PartitionLog

from .compacted import CONFIG, DAY, build, compact, filled, last_of_each, read

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("unsynced")
LATER = 4_000_000_000_000
"""Milliseconds since 1970: when end markers may go as well."""


def merging(folder: Path) -> PartitionLog:
    """A log that was compacted once, into small segments, and has new ones: the next compaction makes one of many.

    Transactions, one aborted and one committed, go over the borders of segments.
    """
    log = filled(folder)
    for sequence in range(6):
        log.append(build([(b"lost %d" % sequence, b"no"), (b"same", b"no")], producer=(1, 0, 2 * sequence)))
        log.append(build([(b"k%d" % sequence, b"transacted")], producer=(2, 0, sequence)))
    log.end_transaction(1, 0, commit=False)
    log.end_transaction(2, 0, commit=True)
    for number in range(20, 30):
        log.append(build([(b"own %d" % number, b"value %d" % number), (b"same", b"%d" % number)], at=number))
    log.append(build([(b"end", b"y" * 300)], at=100))
    compact(log, DAY)
    for number in range(30, 36):
        log.append(build([(b"k%d" % (number % 3), b"value %d" % number), (b"same", b"%d" % number)], at=number))
    log.append(build([(b"end", b"z" * 300)], at=100))
    return log


def test_a_crash_at_any_step_leaves_the_log_before_or_after(tmp_path: Path) -> None:
    """At each step, the log opens with the same last values, and a second compaction comes to the same end.

    Also when the indexes are lost with it: no transaction comes to life again whose end marker has gone.
    """
    made: list[Path] = []

    def copy(_step: str) -> None:
        made.append(tmp_path / str(len(made)))
        shutil.copytree(tmp_path / "log", made[-1])

    merging(tmp_path / "log").close()
    log = PartitionLog(tmp_path / "log", CONFIG, checkpoint=copy)
    before = read(log, committed=True)
    segments = log.segments
    assert len(log.aborted) == 1
    compact(log, LATER)
    assert log.segments < segments - 3, "several become one"
    assert log.aborted == []
    after = read(log, committed=True)
    log.close()
    assert len(made) > 12
    seen = set()
    for one in made:
        for indexed in (True, True, False):  # a start that is killed at once, the next, and one that reads all
            for path in one.glob("*.index") if not indexed else ():
                path.unlink()
            copied = PartitionLog(one, CONFIG)
            assert copied.stable == copied.end
            got = read(copied, committed=True)
            assert last_of_each(got) == last_of_each(before)
            assert set(after) <= set(got) <= set(before)
            copied.close()
        seen.add(len(got))
        assert not list(one.glob("*.clean")) + list(one.glob("*.swap"))
        copied = PartitionLog(one, CONFIG)
        compact(copied, LATER)
        assert last_of_each(read(copied, committed=True)) == last_of_each(before)
        copied.close()
    assert len(seen) > 2, "the segments were replaced one by one"


_KILLED = """
import os, signal, sys
from pathlib import Path
from headrace.local.broker.compaction import Compaction
from headrace.local.broker.configs import LogConfig
from headrace.local.broker.log import PartitionLog
left = int(sys.argv[2])
def step(_name):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
config = LogConfig(segment_bytes=400, deletes=False, compacts=True, dirty_ratio=0.0)
log = PartitionLog(Path(sys.argv[1]), config, checkpoint=step)
work = Compaction(log.plan_compaction(int(sys.argv[3])))
for group in work.survey():
    log.swap(work.rewrite(group))
log.close()
"""


def test_sigkill_in_the_middle_of_a_swap(tmp_path: Path) -> None:
    """A process that is killed at some step, started again and killed later, never loses a last value."""
    log = merging(tmp_path)
    before = last_of_each(read(log, committed=True))
    log.close()
    for steps in (0, 4):
        command = [sys.executable, "-c", _KILLED, str(tmp_path), str(steps), str(LATER)]
        ended = subprocess.run(command, check=False, timeout=30)
        assert ended.returncode == -signal.SIGKILL
        log = PartitionLog(tmp_path, CONFIG)
        assert last_of_each(read(log, committed=True)) == before
        log.close()
