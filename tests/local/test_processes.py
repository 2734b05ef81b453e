"""One process: its output, its end, and everything that it started."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.local.conftest import lines, until

from headrace.errors import UnavailableError
from headrace.local.commands import Command
from headrace.local.kafka_process import usable_port
from headrace.local.logs import LONGEST_LINE, LogFile
from headrace.local.processes import Process, exit_reason, free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def process(folder: Path, *argv: str, max_bytes: int = 1 << 20) -> AsyncIterator[Process]:
    """A process whose log is `folder/log`."""
    log = LogFile(folder / "log", max_bytes=max_bytes)
    started = await Process.start("one", Command(argv, os.environ), cwd=folder, log=log)
    try:
        yield started
    finally:
        await started.stop(0)
        log.close()


def python(program: str) -> tuple[str, str, str]:
    """The words that run `program`."""
    return (sys.executable, "-c", program)


def test_output_and_error_go_to_the_log_line_by_line(tmp_path: Path) -> None:
    """With the process's name, the last one without an end of line as well; blank ones are no last words."""
    program = "import sys; print('out', flush=True); sys.stderr.write('error\\r\\n\\n \\nlast'); sys.exit(7)"

    async def scenario() -> None:
        async with process(tmp_path, *python(program)) as one:
            assert await one.wait() == 7
            assert exit_reason(7, one.last_line) == "exited with code 7: last"

    asyncio.run(scenario())
    assert lines(tmp_path / "log") == ["one | out", "one | error", "one | ", "one |  ", "one | last"]


def test_an_endless_line_is_broken(tmp_path: Path) -> None:
    """Memory is bounded whatever a process writes."""

    async def scenario() -> None:
        async with process(tmp_path, *python(f"print('x' * {3 * LONGEST_LINE + 5})")) as one:
            await one.wait()

    asyncio.run(scenario())
    assert [len(line) - len("one | ") for line in lines(tmp_path / "log")] == [LONGEST_LINE] * 3 + [5]


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    """The disk is bounded: the newest lines are in the log, those before in .1."""

    async def scenario() -> None:
        async with process(tmp_path, *python("for n in range(100): print(f'{n:04}')"), max_bytes=110) as one:
            await one.wait()

    asyncio.run(scenario())
    newest, before = lines(tmp_path / "log"), lines(tmp_path / "log.1")
    assert [*before, *newest] == [f"one | {number:04}" for number in range(80, 100)]


def test_a_stop_is_polite_and_then_not(tmp_path: Path) -> None:
    """SIGTERM first; SIGKILL once the grace period is over."""
    stubborn = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
print("up", flush=True)
while True:
    signal.pause()
"""

    async def scenario() -> None:
        async with process(tmp_path, *python(stubborn)) as one:
            await until(lambda: one.last_line == "up")
            began = time.monotonic()
            assert await one.stop(0.3) == -signal.SIGKILL
            assert 0.3 <= time.monotonic() - began < 3
            assert one.last_line == "no"
            assert exit_reason(-9, "") == "ended by SIGKILL"

    asyncio.run(scenario())


def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    """Also what it left behind when it ended by itself, and holds its output open."""
    parent = """
import os, subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid, flush=True)
os._exit(0)
"""

    async def scenario() -> None:
        async with process(tmp_path, *python(parent)) as one:
            assert await asyncio.wait_for(one.wait(), 10) == 0
            child = int(one.last_line)
            await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")

    asyncio.run(scenario())


def test_a_program_that_does_not_exist_says_so(tmp_path: Path) -> None:
    """As its last words, with a shell's exit code."""

    async def scenario() -> None:
        async with process(tmp_path, "no-such-program") as one:
            assert await one.wait() == 127
            assert one.last_line == "cannot run 'no-such-program': No such file or directory"

    asyncio.run(scenario())


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """Named, and no descriptor is left open."""

    async def scenario() -> None:
        log = LogFile(tmp_path / "log", max_bytes=1000)
        before = psutil.Process().num_fds()
        for _ in range(5):
            with pytest.raises(UnavailableError, match="Cannot start one"):
                await Process.start("one", Command(("true",), os.environ), cwd=tmp_path / "none", log=log)
        assert psutil.Process().num_fds() <= before + 1
        log.close()

    asyncio.run(scenario())


def test_free_ports_differ() -> None:
    """One for each that is wanted."""
    found = free_ports(frozenset({8080, 9000, 9001}))
    assert set(found) == {8080, 9000, 9001}
    assert len(set(found.values())) == 3


def test_a_taken_port_is_not_taken_again() -> None:
    """The usual port where it is free, another where not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert usable_port(port) not in (0, port)
    assert usable_port(port) == port
