"""The files of ConfigMaps and Secrets, and the empty folders, that containers mount: in the run directory."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.local.resources import Plan

_OWN = 0o700
_FILE = 0o600
"""Some are secrets: nobody else on this machine reads them."""


def write_mounts(plan: Plan, folder: Path) -> None:
    """Write everything that containers of ``plan`` mount below ``folder``, which is emptied first.

    Raises:
        UnavailableError: the disk does not take it.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for name, files in plan.folders.items():
            place = folder / name
            place.mkdir(parents=True, exist_ok=True, mode=_OWN)
            for file, content in files.items():
                _write(place / file, content)
    except OSError as fault:
        raise UnavailableError(f"Cannot write mounted files to {folder}: {fault.strerror}") from fault


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=_OWN)  # an item may have a folder of its own
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
