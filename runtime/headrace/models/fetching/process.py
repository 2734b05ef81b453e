"""One fetch: the process that makes it, watched until it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from headrace.errors import ModelLoadError, StorageFullError
from headrace.models.fetching.checksums import files_of
from headrace.models.fetching.https import DISK
from headrace.models.model_uri import hidden

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headrace.models.model_uri import ModelUri

STALL = "HEADRACE_MODEL_STALL"
"""Environment variable: seconds without a byte after which a fetch is given up."""
_STALL = 300.0
_LOOK = 1.0
"""Seconds between two looks at how far it is."""
_TELL = 10.0
_MEBIBYTE = 1 << 20
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|STORAGE_CONFIG|ACCESS_KEY|-headers\Z", re.IGNORECASE)
_SHORTEST = 8
"""Characters of a value that may be taken for a secret; a shorter one would blot out half a message."""
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_LOG = logging.getLogger("headrace.models")


def fetch(uri: ModelUri, folder: Path, scratch: Path, environment: Mapping[str, str]) -> None:
    """Put the files of ``uri`` into ``folder``, which is there and empty.

    Args:
        uri: What is fetched; its checksum is not looked at.
        folder: Where it is to be.
        scratch: A folder for what the stores' clients write beside.
        environment: Of the process; credentials are in it.

    Raises:
        ModelLoadError: naming the URI, the store and what it said, or that nothing came any more.
        StorageFullError: the disk does not take it.
    """
    own = {**_QUIET, **environment, "TMPDIR": str(scratch), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "headrace.models.fetching.child"]
    with tempfile.TemporaryFile(dir=scratch) as said, tempfile.TemporaryFile(dir=scratch) as answered:
        process = subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.PIPE, stdout=answered, stderr=said, env=own, start_new_session=True
        )
        try:
            assert process.stdin is not None
            # The pipe stays open: its end is how the process learns that nobody waits any more.
            with contextlib.suppress(BrokenPipeError):
                os.write(
                    process.stdin.fileno(), json.dumps({"place": uri.place, "folder": str(folder)}).encode() + b"\n"
                )
            stalled = _watch(process, uri, folder.parent.parent, float(environment.get(STALL, _STALL)))
        finally:
            _end(process)
        if stalled:
            raise ModelLoadError(f"Model {uri.shown!r}: nothing came for {stalled:g} s", hint="look at the network")
        _check(uri, process.returncode, _text(answered), _text(said), environment)


def _watch(process: subprocess.Popen[bytes], uri: ModelUri, place: Path, stall: float) -> float:
    """Wait for its end; returns 0, or after how many seconds without a byte it was given up."""
    began = moved = told = time.monotonic()
    have = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
            return 0.0
        now, size = time.monotonic(), size_of(place)
        if size != have:
            have, moved = size, now
        if now - moved > stall:
            return stall
        if now - told > _TELL:
            told = now
            _LOG.info("model %s: %.1f MiB after %.0f s", uri.shown, have / _MEBIBYTE, now - began)


def _end(process: subprocess.Popen[bytes]) -> None:
    """No process of the fetch is left, its own children included."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _check(uri: ModelUri, code: int, answered: str, said: str, environment: Mapping[str, str]) -> None:
    """Raise what the fetch ended with, unless it ended well."""
    secrets = tuple(value for name, value in environment.items() if _SECRET.search(name) and len(value) >= _SHORTEST)
    try:
        told: dict[str, Any] = json.loads(answered)
    except ValueError:
        last = said.strip().splitlines()[-1:] or [f"its process ended with {code}"]
        told = {"error": last[0]}
    if said.strip():
        _LOG.debug("model %s: %s", uri.shown, hidden(said.strip(), uri, secrets))
    if "error" not in told:
        return
    error = hidden(str(told["error"]), uri, secrets)
    number = told.get("errno") or next((int(found) for found in _ERRNO.findall(error)), None)
    if number in DISK:
        raise StorageFullError(f"Model {uri.shown!r} does not fit on the disk: {os.strerror(number)}")
    raise ModelLoadError(f"Model {uri.shown!r} could not be fetched: {error}", hint=str(told.get("hint", "")))


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))


def size_of(place: Path) -> int:
    """Bytes of all files below ``place``; what vanishes meanwhile is not counted."""
    total = 0
    for path in files_of(place):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total
