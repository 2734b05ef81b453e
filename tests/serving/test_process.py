"""``headrace serve`` as a process: from the open port to the last answer."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLOW = """
import pathlib
import threading
import time

import kserve


class Gated(kserve.Model):
    '''Loads when the file `load` is there, answers when `answer` is, and tells when it stops.'''

    def load(self):
        self._wait("load")
        self.ready = True
        return True

    def predict(self, payload, headers=None):
        pathlib.Path("asked").touch()
        self._wait("answer")
        return {"predictions": [1]}

    def stop(self):
        pathlib.Path("stopped").touch()

    def _wait(self, name):
        while not pathlib.Path(name).exists():
            time.sleep(0.005)
"""
BROKEN = """
import kserve


class Raises(kserve.Model):
    def load(self):
        raise ValueError("no weights\\nhere")


class Lazy(kserve.Model):
    def load(self):
        return False


class Demanding(kserve.Model):
    def __init__(self, name, something):
        super().__init__(name)


class Plain:
    pass
"""


def asked(url: str, body: bytes | None = None) -> tuple[int, dict[str, str], Any]:
    request = urllib.request.Request(url, body, {"content-type": "application/json"} if body else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.loads(answer.read())
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, {k.lower(): v for k, v in fault.headers.items()}, json.loads(fault.read())


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_from_the_open_port_to_the_last_answer(serve: Callable[..., Any], tmp_path: Path, number: int) -> None:
    """Alive and not ready while it loads; at the signal not ready, and what is in flight is answered; then exit 0."""
    (tmp_path / "slow.py").write_text(SLOW)
    process = serve("--class", "slow:Gated", "--model_name", "m", "--max_threads", "4", "--enable_docs_url=true")
    url = process.url()
    assert "--max_threads has no effect" in process.log
    assert asked(f"{url}/v2/health/live")[0] == 200
    assert asked(f"{url}/v2/health/ready")[0] == 503
    status, headers, body = asked(f"{url}/v1/models/m:predict", b"{}")
    assert (status, headers["retry-after"], body) == (503, "1", {"error": "Model with name m is not ready."})
    (tmp_path / "load").touch()
    process.ready()
    assert asked(f"{url}/v2/health/ready")[0] == 200

    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(asked(f"{url}/v1/models/m:predict", b"{}")))
    caller.start()
    until((tmp_path / "asked").exists)
    process.process.send_signal(number)
    until(lambda: asked(f"{url}/v2/health/ready")[0] == 503)
    assert not answers
    assert not (tmp_path / "stopped").exists()
    (tmp_path / "answer").touch()
    caller.join(30)
    assert answers[0][0] == 200
    assert answers[0][2] == {"predictions": [1]}
    assert process.exit_code() == 0
    assert (tmp_path / "stopped").exists()
    assert "Traceback" not in process.log


@pytest.mark.slow
def test_a_request_that_never_ends_does_not_hold_the_exit(serve: Callable[..., Any], tmp_path: Path) -> None:
    """After the grace the model is told to stop, beside its run; the process leaves, and says what is unanswered."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "load").touch()
    process = serve("--class", "slow.py:Gated", "--name", "m", "--grace", "50ms")
    url = process.url()
    process.ready()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as caller:
        caller.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        until((tmp_path / "asked").exists)
        assert process.end() == 0
    assert "1 requests were not answered" in process.log
    assert (tmp_path / "stopped").exists()


@pytest.mark.slow
def test_it_can_be_stopped_while_it_loads(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A load that hangs does not hold the exit."""
    (tmp_path / "slow.py").write_text(SLOW)
    process = serve("--class", "slow:Gated", "--name", "m")
    process.url()
    assert process.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("broken:Raises", "ValueError: no weights here"),
        ("broken.py:Lazy", "self.ready"),
        ("broken:Demanding", "TypeError"),
        ("broken:Plain", "no kserve.Model"),
        ("broken:Missing", "has no Missing"),
        ("missing:Class", "no module 'missing'"),
        ("missing.py:Class", "no file missing.py"),
        ("nocolon", "MODULE:CLASS"),
        ("syntax:X", "SyntaxError"),
    ],
)
def test_a_class_that_cannot_be_served(serve: Callable[..., Any], tmp_path: Path, target: str, told: str) -> None:
    """One line on standard error names class and cause, no traceback; exit code 1."""
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "syntax.py").write_text("def f(:\n")
    process = serve("--class", target, "--name", "m")
    assert process.exit_code() == 1
    lines = [line for line in process.log.splitlines() if line.startswith("headrace:")]
    assert len(lines) == 1
    assert told in lines[0]
    assert "Traceback" not in process.log


@pytest.mark.slow
def test_a_port_that_is_taken(serve: Callable[..., Any]) -> None:
    """The port and the flag are named; exit code 2, before anything is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = serve("--class", "x:Y", "--http_port", str(port))
        assert process.exit_code() == 2
    assert f"Port {port}" in process.log


@pytest.mark.slow
def test_a_users_folder_hides_no_package(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A project with its own ``transformers/`` and ``kserve.py`` is served, and gets the installed kserve."""
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text("")
    (tmp_path / "transformers" / "neighbour.py").write_text("VALUE = 5\n")
    (tmp_path / "kserve.py").write_text("raise SystemExit('the wrong kserve')\n")
    (tmp_path / "transformers" / "mine.py").write_text(
        "import kserve\nimport neighbour\n\nclass Mine(kserve.Model):\n"
        "    def predict(self, payload, headers=None):\n        return {'predictions': [neighbour.VALUE]}\n"
    )
    process = serve("--class", "transformers/mine.py:Mine", "--name", "m")
    url = process.url()
    process.ready()
    assert asked(f"{url}/v1/models/m:predict", b"{}")[2] == {"predictions": [5]}
    assert process.end() == 0


@pytest.mark.slow
def test_kserves_own_command_line_does_no_harm() -> None:
    """At its import kserve parses the program's flags; behind ``kserve_api`` it never sees them."""
    code = "import sys; from headrace.models import kserve_api; print(sys.argv)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--workers", "many", "--grpc", "no"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "['-c', '--workers', 'many', '--grpc', 'no']")


def taken(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as page:
        found = re.search(r'headrace_model_requests{model="m"} (\S+)', page.read().decode())
    assert found is not None
    return float(found[1])


@pytest.mark.slow
def test_a_closed_connection_takes_its_request_along(serve: Callable[..., Any], tmp_path: Path) -> None:
    """Over a real socket: the request of a caller that hangs up while it waits is never worked on; others are."""
    counting = SLOW.replace('pathlib.Path("asked").touch()', 'pathlib.Path("asked").open("a").write("x")')
    (tmp_path / "slow.py").write_text(counting)
    (tmp_path / "load").touch()
    process = serve("--class", "slow:Gated", "--name", "m")
    url = process.url()
    process.ready()
    answers: list[Any] = []
    staying = threading.Thread(target=lambda: answers.append(asked(f"{url}/v1/models/m:predict", b"{}")))
    staying.start()
    until((tmp_path / "asked").exists)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as leaving:
        leaving.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        until(lambda: taken(url) == 2)
    until(lambda: taken(url) == 1)
    (tmp_path / "answer").touch()
    staying.join(30)
    assert answers[0][0] == 200
    assert asked(f"{url}/v1/models/m:predict", b"{}")[0] == 200
    assert (tmp_path / "asked").read_text() == "xx"
    assert process.end() == 0
