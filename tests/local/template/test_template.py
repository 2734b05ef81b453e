"""Replicas that are forked from a process which has imported their code."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.local.conftest import until
from tests.local.template.conftest import MODEL, making

from headrace.local.template.template import classes_of, may_fork
from headrace.local.template.wire import Fork, decoded, encoded

if TYPE_CHECKING:
    from pathlib import Path

ORIGINS = pytest.mark.parametrize("kind", ["started", "template"])


@ORIGINS
def test_a_process_is_what_its_command_says(tmp_path: Path, kind: str) -> None:
    """Words, environment, folder, a session of its own, an empty input: a fork is as good as a program."""

    async def scenario() -> None:
        async with making(tmp_path, kind) as made:
            one = await made.start("--http-port=1", SAID="hello")
            assert await one.wait() == 0
            assert one.forked is (kind == "template")
            (facts,) = made.facts()
            assert facts["argv"][-4:] == ["serve", "--class", "model.py:Model", "--http-port=1"]
            assert facts["words"][:2] == ["-m", "forkable"]
            assert (facts["cwd"], facts["said"], facts["session"], facts["input"]) == (str(tmp_path), "hello", True, "")

    asyncio.run(scenario())


@ORIGINS
@pytest.mark.parametrize(("todo", "code"), [("7", 7), ("SIGKILL", -9)])
def test_its_end_is_known(tmp_path: Path, kind: str, todo: str, code: int) -> None:
    """By exit code or by signal."""

    async def scenario() -> None:
        async with making(tmp_path, kind) as made:
            one = await made.start(DO=todo)
            assert await one.wait() == code
            assert await one.wait() == code

    asyncio.run(scenario())


@ORIGINS
def test_it_is_told_to_stop(tmp_path: Path, kind: str) -> None:
    """SIGTERM first: it leaves as it likes."""

    async def scenario() -> None:
        async with making(tmp_path, kind) as made:
            one = await made.start(DO="wait")
            await until(lambda: bool(made.facts()))
            assert await one.stop(30) == 5
            assert not psutil.pid_exists(one.pid)

    asyncio.run(scenario())


def test_forks_have_imported_the_code_already(tmp_path: Path) -> None:
    """All of one template, each with random numbers of its own."""

    async def scenario() -> None:
        async with making(tmp_path, model=MODEL, preloading="headrace.serving.preload") as made:
            ones = await asyncio.gather(*(made.start() for _ in range(3)))
            assert [await one.wait() for one in ones] == [0, 0, 0]
            facts = made.facts()
            assert [fact["heavy"] for fact in facts] == [True] * 3
            assert {fact["parent"] for fact in facts} == {made.template.pid}
            assert len({fact["drawn"] for fact in facts}) == 3
            assert made.template.forks == 3
            assert made.notes == []

    asyncio.run(scenario())


THREAD = "import threading; threading.Thread(target=threading.Event().wait, name='mine', daemon=True).start()"
CUDA = """
import sys, types
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
"""


@pytest.mark.parametrize(
    ("model", "reason"),
    [(THREAD, "mine"), (CUDA, "CUDA"), ("import nowhere", "nowhere"), ("import os; os._exit(3)", "while it imported")],
    ids=["thread", "cuda", "import error", "exit"],
)
def test_what_cannot_be_forked_is_started(tmp_path: Path, model: str, reason: str) -> None:
    """Code that a fork would break, or that does not import, runs in processes of its own; why is said once."""

    async def scenario() -> None:
        async with making(tmp_path, model=model) as made:
            for _ in range(2):
                one = await made.start()
                assert await one.wait() == 0
                assert not one.forked
            assert len(made.notes) == 1
            assert reason in made.notes[0]

    asyncio.run(scenario())


def test_a_template_that_dies_takes_its_forks_and_is_replaced(tmp_path: Path) -> None:
    """By kill -9: the forks are told to end and do, the next replica is a fork of another template."""

    async def scenario() -> None:
        async with making(tmp_path) as made:
            one = await made.start(DO="wait")
            await until(lambda: bool(made.facts()))
            dead = made.template.pid
            os.kill(dead, signal.SIGKILL)
            await one.wait()
            another = await made.start()
            assert await another.wait() == 0
            assert another.forked
            assert made.facts()[-1]["parent"] not in (dead, os.getpid())
            assert len(made.notes) == 1

    asyncio.run(scenario())


def test_a_start_given_up_leaves_no_process(tmp_path: Path) -> None:
    """A replica told to leave before its fork is there does not run on unseen."""

    async def scenario() -> None:
        async with making(tmp_path) as made:
            await (await made.start()).wait()  # the template has imported
            starting = asyncio.ensure_future(made.start(DO="wait"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            template = psutil.Process(made.template.pid)
            await (await made.start()).wait()  # what was asked before is answered before
            await until(lambda: template.children() == [])

    asyncio.run(scenario())


def test_what_is_too_large_to_ask_for_is_started(tmp_path: Path) -> None:
    """An environment that no packet holds."""

    async def scenario() -> None:
        async with making(tmp_path) as made:
            one = await made.start(**{f"LARGE_{number}": "x" * 100_000 for number in range(12)})
            assert await one.wait() == 0
            assert not one.forked

    asyncio.run(scenario())


def test_closing_leaves_nothing_open(tmp_path: Path) -> None:
    """No descriptor, no process."""

    async def scenario() -> None:
        async with making(tmp_path) as made:
            await (await made.start()).wait()
            pid = made.template.pid
        assert not psutil.pid_exists(pid)

    asyncio.run(scenario())
    before = psutil.Process().num_fds()
    asyncio.run(scenario())
    assert psutil.Process().num_fds() <= before


def test_classes_are_read_off_the_command() -> None:
    """However the flags are written; further models too."""
    argv = ("python", "-m", "headrace.cli.main", "serve", "--class=a:A", "--also", "x=b.py:B@file:///m", "--name", "n")
    assert classes_of(argv) == ("a:A", "b.py:B")
    assert classes_of(("python", "-m", "headrace.cli.main", "serve", "--class", "a:A")) == ("a:A",)
    assert classes_of((*argv, "--execution", "process")) == (), "they are imported where they run"
    assert not may_fork(argv), "another Python than this one"


def test_packets_hold_what_was_asked() -> None:
    """A request reads as it was written."""
    request = Fork(3, ("python", "ä"), {"KEY": "väl\nue"}, "/some where")
    assert decoded(encoded(request)) == request
