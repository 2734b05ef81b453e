"""Locks between processes that share a folder; one that is killed lets go at once.

``flock``: the kernel keeps it with the open file, so no lock outlives its process. A holder writes who it is into the
file, for those that wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_POLL = 0.05
TELL = 10.0
"""Seconds between two words about a wait."""


@dataclass(slots=True)
class Lock:
    """A lock that this process has; closing it lets go."""

    descriptor: int

    def share(self) -> None:
        """Let others have it too, none of them alone."""
        os.ftruncate(self.descriptor, 0)
        fcntl.flock(self.descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def take(path: Path, *, shared: bool = False) -> Lock | None:
    """The lock, if it is to be had at once.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    if not shared:
        _sign(descriptor)
    return Lock(descriptor)


def wait(path: Path, told: Callable[[str], None], *, shared: bool = False) -> Lock:
    """The lock, when whoever has it lets go or dies.

    Args:
        path: Its file.
        told: Given who has it, after ten seconds and every ten from then on.
        shared: Whether others may have it too.
    """
    word = time.monotonic() + TELL
    while (lock := take(path, shared=shared)) is None:
        if time.monotonic() > word:
            told(holder(path))
            word = time.monotonic() + TELL
        time.sleep(_POLL)
    return lock


def holder(path: Path) -> str:
    """Who has the lock, in words."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['process']} on {found['host']}, since {found['since']}"
    return "another process"


def _sign(descriptor: int) -> None:
    who = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(who).encode(), 0)
