"""What `headrace up` shows to a person at a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from headrace.cli.app_lag import AppLag
from headrace.cli.live_view import LiveView
from headrace.local.status import ReplicaStatus, ServiceStatus, TwinEvent, TwinStatus, WorkloadStatus
from headrace.testing.app import PATIENCE, until

if TYPE_CHECKING:
    from headrace.local.status import ReplicaState

WARMTH = Path(__file__).parents[2] / "examples" / "warmth" / "headrace.yaml"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def service(name: str, desired: int, *states: ReplicaState) -> ServiceStatus:
    replicas = tuple(ReplicaStatus(f"{name}-{n}", state, 1, 1, 2) for n, state in enumerate(states))
    return ServiceStatus("vision", name, "labels", "http://127.0.0.1:1", (), desired, replicas, 4, 7, None, "")


def drawn(view: LiveView) -> list[str]:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(view.render())
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_table_says_how_the_app_stands() -> None:
    """Lag and rate by app, replicas and requests by model; an app held back is marked; problems stay in sight."""
    workload = WorkloadStatus("vision", "labels-dispatcher", "running", 1, 0, "", paused=True)
    services = (service("labels-predictor", 3, "ready", "ready", "starting"), service("labels-transformer", 0))
    status = TwinStatus("", "", "", services, (workload,), ())
    view = LiveView(Console(file=io.StringIO()), lambda: status)
    view.lags([AppLag("labels", 12_345, 67.89)])
    for number in range(5):
        view.happened(TwinEvent("died", "vision/labels-predictor"), f"labels-predictor-{number} died")
    view.happened(TwinEvent("ready", "vision/labels-predictor"), "labels-predictor-9 is ready")
    head, first, second, *problems = drawn(view)
    assert head.split() == ["app", "lag", "rate", "model", "replicas", "in", "flight", "waiting"]
    assert first.split() == [
        *("labels", "(paused)", "12,345", "67.9/s", "labels-predictor", "2", "of", "3", "●●○", "4", "7"),
    ]
    assert second.split() == ["labels-transformer", "at", "zero", "4", "7"]
    assert problems == [f"! labels-predictor-{number} died" for number in (2, 3, 4)]


def test_a_terminal_gets_a_table_and_lines(tmp_path: Path) -> None:
    """Drawn over and over while the app is up; Ctrl-C at the terminal ends it in order."""
    ours, its = pty.openpty()
    around = {**os.environ, "HEADRACE_HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    words = ["up", "-f", str(WARMTH), "--port", "0", "--kafka-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace.cli.main", *words], env=around, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    shown = bytearray()
    reading = threading.Thread(target=_read, args=(ours, shown))
    reading.start()
    try:
        until(lambda: b"0.0/s" in shown, "the table is drawn with the lag")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        reading.join()
        os.close(ours)
    text = _ESCAPES.sub("", shown.decode())
    assert re.search(r"warmth +0 +0\.0/s +warmth-predictor +at zero +0 +0", text), text
    assert "kafka is stopped" in text


def _read(descriptor: int, shown: bytearray) -> None:
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # the other end is closed
            return
        if not chunk:
            return
        shown += chunk
