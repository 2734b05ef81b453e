"""A model's files brought here while the process imports what will read them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

import psutil

from headrace.errors import HeadraceError
from headrace.models import storage
from headrace.models.fetching.checksums import files_of
from headrace.models.fetching.process import size_of

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 8 << 20
"""The kernel reads ahead as much as it is asked for, and a long file all at once; here by pieces."""


class Prefetch:
    """Fetches a model, and reads it into the page cache, in a thread that is begun at once.

    Whoever asks :func:`headrace.models.storage.model_path` for the URI meanwhile waits for it, and is told what went
    wrong.

    Args:
        uri: Of the model.
    """

    def __init__(self, uri: str) -> None:
        self.took: tuple[int, int] | None = None
        """From when to when it was fetched and read, in nanoseconds since the epoch; None until it is."""
        self._uri = uri
        self._arriving = storage.announce(uri)
        threading.Thread(target=self._run, name="prefetch", daemon=True).start()

    def _run(self) -> None:
        began = time.time_ns()
        path = None
        with contextlib.suppress(HeadraceError):  # told to whoever asks for the path
            path = self._arriving.bring()
        if path is not None:
            read_ahead(path)
        self.took = (began, time.time_ns())


def read_ahead(place: Path) -> int:
    """Ask the kernel for the files, unless they are more than half of the memory that is free; returns their bytes."""
    size = size_of(place)
    if not hasattr(os, "posix_fadvise") or size > psutil.virtual_memory().available // 2:
        return 0
    for path in files_of(place):
        with contextlib.suppress(OSError), path.open("rb") as file:
            for at in range(0, os.fstat(file.fileno()).st_size, _PIECE):
                os.posix_fadvise(file.fileno(), at, _PIECE, os.POSIX_FADV_WILLNEED)
    return size
