"""``headrace serve --execution process``: what a process of the model's own is for."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow
DEADLINE = 60.0
MODELS = """
import os
import pathlib
import re
import signal
import time

import kserve


class Mortal(kserve.Model):
    '''Says where it is; waits, holds Python's lock or dies as it is asked to.'''

    def load(self):
        if pathlib.Path("dies").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if pathlib.Path("fails").exists():
            raise ValueError("no weights here")
        pathlib.Path("loading").touch()
        while pathlib.Path("hangs").exists():
            time.sleep(0.01)
        self.ready = True
        return True

    def predict(self, payload, headers=None):
        pathlib.Path("asked").touch()
        if isinstance(payload, dict) and payload.get("wait"):
            while not pathlib.Path("answer").exists():
                time.sleep(0.01)
        if isinstance(payload, dict) and payload.get("lock"):
            re.match(r"(a+)+$", "a" * 25 + "b")
        return {"predictions": [os.getpid()]}

    def stop(self):
        pathlib.Path("stopped").touch()
"""


def asked(url: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, {"content-type": "application/json", **named})
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return answer.status, dict(answer.headers), json.loads(answer.read())
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, {k.lower(): v for k, v in fault.headers.items()}, json.loads(fault.read())


def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    ends = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def numbers(url: str) -> dict[str, float]:
    """Every sample of ``/metrics``."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=DEADLINE) as page:
        lines = [line for line in page.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or nobody but its parent knows of it any more."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123  # no file of ours
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.fixture
def mortal(serve: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Starts a server whose models are in processes."""
    (tmp_path / "models.py").write_text(MODELS)

    def start(*arguments: str) -> Any:
        return serve("--class", "models.py:Mortal", "--name", "m", "--execution", "process", *arguments)

    return start


def test_a_process_that_is_killed_is_replaced(mortal: Callable[..., Any], tmp_path: Path) -> None:
    """What it had is answered with 503 to be sent again; not ready until there is another; nothing counted is lost."""
    process = mortal("--also", "beside=models.py:Mortal")
    url = process.url()
    process.ready()
    pid = asked(f"{url}/v1/models/m:predict", {})[2]["predictions"][0]
    beside = asked(f"{url}/v1/models/beside:predict", {})[2]
    assert pid not in (process.process.pid, beside["predictions"][0])
    counted = numbers(url)['headrace_run_requests_count{model="m"}']
    answers: list[Any] = []
    event = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/s", "ce_type": "t"}
    (tmp_path / "asked").unlink()
    callers = [
        threading.Thread(target=lambda named=named: answers.append(asked(f"{url}/", {"wait": True}, **named)))
        for named in (event, event)
    ]
    for caller in callers:
        caller.start()
    until((tmp_path / "asked").exists)
    (tmp_path / "dies").touch()
    os.kill(pid, signal.SIGKILL)
    for caller in callers:
        caller.join(DEADLINE)
    for status, headers, body in answers:
        assert (status, body["code"], body["retriable"]) == (503, "unavailable", True)
        assert int(headers["retry-after"]) >= 1
    status, headers, body = asked(f"{url}/v1/models/m:predict", {})
    assert (status, f"its process {pid}" in body["error"]) == (503, True)
    assert int(headers["retry-after"]) >= 1
    assert asked(f"{url}/v2/health/ready")[0] == 503
    assert asked(f"{url}/v2/health/live")[0] == 200
    assert asked(f"{url}/v1/models/beside:predict", {})[2] == beside
    process.wait_for(r"(was killed by SIGKILL while it loaded.*started again in 2 s)")
    (tmp_path / "dies").unlink()
    until(lambda: asked(f"{url}/v2/health/ready")[0] == 200)
    assert asked(f"{url}/v1/models/m:predict", {})[2]["predictions"][0] != pid
    found = numbers(url)
    assert found['headrace_model_process_restarts_total{model="m"}'] == 2
    assert found['headrace_run_requests_count{model="m"}'] == counted + 1
    assert process.end() == 0
    assert "Traceback" not in process.log


def test_python_held_by_a_model_holds_up_nobody_else(mortal: Callable[..., Any]) -> None:
    """A predict that lets no other thread run: probes and numbers are answered meanwhile."""
    process = mortal()
    url = process.url()
    process.ready()
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(asked(f"{url}/v1/models/m:predict", {"lock": True})))
    caller.start()
    answered = 0
    while caller.is_alive():
        assert asked(f"{url}/v2/health/live")[0] == 200
        assert numbers(url)['headrace_model_requests{model="m"}'] <= 1
        answered += caller.is_alive()
    assert answered
    assert answers[0][0] == 200
    assert process.end() == 0


@pytest.mark.parametrize(
    ("file", "told"), [("fails", "ValueError: no weights here"), ("dies", "was killed by SIGKILL while it loaded")]
)
def test_a_model_that_does_not_load_ends_the_server(
    mortal: Callable[..., Any], tmp_path: Path, file: str, told: str
) -> None:
    """One line says why, as without a process of its own; exit code 1."""
    (tmp_path / file).touch()
    process = mortal()
    assert process.exit_code() == 1
    lines = [line for line in process.log.splitlines() if line.startswith("headrace:")]
    assert len(lines) == 1
    assert told in lines[0]
    assert "Traceback" not in process.log


def test_it_comes_and_goes_and_answers_to_the_last(mortal: Callable[..., Any], tmp_path: Path) -> None:
    """Unloaded, loaded, and at the end with its last answer, though a terminal sends the signal to all processes."""
    process = mortal()
    url = process.url()
    process.ready()
    first = asked(f"{url}/v1/models/m:predict", {})[2]["predictions"][0]
    assert asked(f"{url}/v2/repository/models/m/unload", {})[0] == 200
    assert is_gone(first)
    assert numbers(url)['headrace_run_requests_count{model="m"}'] == 1
    assert asked(f"{url}/v1/models/m:predict", {})[0] == 404
    assert asked(f"{url}/v2/repository/models/m/load", {})[0] == 200
    pid = asked(f"{url}/v1/models/m:predict", {})[2]["predictions"][0]
    assert pid != first
    assert numbers(url)['headrace_run_requests_count{model="m"}'] == 2
    (tmp_path / "stopped").unlink()
    (tmp_path / "asked").unlink()
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(asked(f"{url}/v1/models/m:predict", {"wait": True})))
    caller.start()
    until((tmp_path / "asked").exists)
    os.kill(pid, signal.SIGTERM)
    process.process.send_signal(signal.SIGTERM)
    until(lambda: asked(f"{url}/v2/health/ready")[0] == 503)
    assert not (tmp_path / "stopped").exists()
    (tmp_path / "answer").touch()
    caller.join(DEADLINE)
    assert answers[0][0] == 200
    assert process.exit_code() == 0
    assert (tmp_path / "stopped").exists()
    assert is_gone(pid)


def test_no_process_outlives_its_server(mortal: Callable[..., Any], tmp_path: Path) -> None:
    """A server that is killed takes its models' processes along, at work or still loading."""
    (tmp_path / "hangs").touch()
    process = mortal()
    url = process.url()
    until((tmp_path / "loading").exists)
    (tmp_path / "hangs").unlink()
    process.ready()
    pid = asked(f"{url}/v1/models/m:predict", {})[2]["predictions"][0]
    process.end(signal.SIGKILL)
    until(lambda: is_gone(pid))
