"""The processes of a contender: started, watched, their CPU time counted, ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
"""Where ``benchmarks`` lies."""
END_TIMEOUT = 30.0
"""Seconds that a process may take to end by itself."""
MOST_TOLD = 2000
"""Characters of a log that an error shows."""


class Processes:
    """Programs of this Python, with a log file each.

    Args:
        folder: Where the logs are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, name: str, words: Sequence[str]) -> None:
        """Start ``python WORDS``."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            self._running[log] = subprocess.Popen(
                [sys.executable, *words], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=output, stderr=output
            )

    def check(self) -> None:
        """End the program with a message where one of the processes has ended."""
        for log, process in self._running.items():
            if process.poll() is not None:
                told = log.read_text(errors="replace")[-MOST_TOLD:]
                raise SystemExit(f"{log.stem} has ended with {process.returncode}:\n{told}")

    def all_run(self) -> bool:
        """Whether none of them has ended."""
        return all(process.poll() is None for process in self._running.values())

    def cpu(self) -> float:
        """Seconds of CPU that they and their children have used so far."""
        return sum(cpu_of(process.pid) for process in self._running.values())

    def rss(self, name: str) -> int:
        """Bytes of memory that the program of this name has resident."""
        process = self._running[self._folder / f"{name}.log"]
        return int(psutil.Process(process.pid).memory_info().rss)

    def stop(self) -> None:
        """End them."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process and its children have used so far."""
    process = psutil.Process(pid)
    return sum(_seconds(one) for one in (process, *process.children(recursive=True)))


def _seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system + used.children_user + used.children_system)
