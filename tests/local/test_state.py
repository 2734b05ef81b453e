from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import ConfigurationError, UnavailableError
from headrace.local.state import Home, RunningApp, State, created


def state(pid: int | None = None, *, born: float | None = None) -> State:
    pid = os.getpid() if pid is None else pid
    return State(
        pid=pid,
        created=born if born is not None else created(pid) or 0.0,
        kafka="127.0.0.1:9092",
        ingress="http://127.0.0.1:8080",
        otlp="http://127.0.0.1:4318",
        traces="traces.sqlite",
        logs="logs",
        apps=(
            RunningApp("labels", "vision", ("pictures", "pictures.labels")),
            RunningApp("words", "text", ("words",), "w", "dead", "group", ({"not": {"exact": {"type": "a"}}},)),
        ),
    )


def test_what_a_twin_writes_another_reads(tmp_path: Path) -> None:
    """The state comes back whole, and is gone once removed."""
    home = Home(tmp_path / "home")
    assert home.read() is None
    home.write(state())
    assert Home(tmp_path / "home").read() == state()
    home.remove()
    home.remove()
    assert home.read() is None
    assert list(home.path.iterdir()) == []


def test_the_state_of_a_dead_twin_is_none(tmp_path: Path) -> None:
    """A number that no process has, or that a later process has, is a twin that died."""
    home = Home(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    alive = state(child.pid)
    home.write(alive)
    assert home.read() == alive
    child.communicate(b"\n")
    assert home.read() is None
    home.write(state(born=created(os.getpid()) or 0.0))
    assert home.read() is not None
    home.write(state(born=12345.0))
    assert home.read() is None


def test_a_zombie_runs_no_twin(tmp_path: Path) -> None:
    """A twin that ended and was not reaped still has its number."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    home = Home(tmp_path)
    home.write(state(child.pid))
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.close()
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert home.read() is None
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize("content", ["{", "[]", '{"pid": 1}', '{"apps": [{"name": "x"}]}'])
def test_a_foreign_state_is_named(tmp_path: Path, content: str) -> None:
    """The file and the remedy are in the message."""
    home = Home(tmp_path)
    home.state_file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"state\.json.*delete it"):
        home.read()


def test_one_home_has_one_twin(tmp_path: Path) -> None:
    """The second is told who has it and what to do; after unlocking it may."""
    first, second = Home(tmp_path), Home(tmp_path)
    first.lock()
    first.write(state())
    with pytest.raises(ConfigurationError, match=rf"already up in .*process {os.getpid()}.*headrace down"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_the_death_of_a_twin_frees_its_home(tmp_path: Path) -> None:
    """However it ends: the lock is the system's, not a file that must be deleted."""
    program = (
        "import sys; from pathlib import Path; from headrace.local.state import Home\n"
        "Home(Path(sys.argv[1])).lock(); print('locked', flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"locked\n"
    home = Home(tmp_path)
    with pytest.raises(ConfigurationError, match="already up"):
        home.lock()
    child.kill()
    child.communicate()
    home.lock()
    home.unlock()


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "file").write_text("")
    home = Home(tmp_path / "file" / "home")
    for attempt in (home.lock, lambda: home.write(state())):
        with pytest.raises(UnavailableError, match="Cannot write"):
            attempt()


def test_the_home_is_the_users_choice() -> None:
    """HEADRACE_HOME, then XDG_STATE_HOME, then the XDG default."""
    assert Home.of({"HEADRACE_HOME": "/some/where"}).path == Path("/some/where")
    assert Home.of({"XDG_STATE_HOME": "/state"}).path == Path("/state/headrace")
    assert Home.of({}).path == Path.home() / ".local/state/headrace"
