"""glibc's allocator, told to keep what a model gives back.

By default glibc returns a freed block of a tensor's size to the kernel and asks for it again at the next layer: the
kernel zeroes every page of it, once a layer and batch. A server runs the same network again and again, so what one run
has used the next one will (docs/execution.md has figures).
What the largest batch needed stays with the process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SWITCH = "HEADRACE_MALLOC"
"""Environment variable: ``system`` leaves the allocator as it is."""
_USERS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # malloc.h
_MEBIBYTE = 1 << 20
_SETTINGS = (
    (_MMAP_THRESHOLD, 32 * _MEBIBYTE),  # the most that an older glibc takes; then more, where it does
    (_MMAP_THRESHOLD, 1024 * _MEBIBYTE),
    (_TRIM_THRESHOLD, 2047 * _MEBIBYTE),
    (_TOP_PAD, 64 * _MEBIBYTE),
    (_ARENA_MAX, 1),  # the model's thread would have an arena of its own, whose heaps of 64 MiB are given back whole
)


def keep_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Set the thresholds; call before there are threads.

    Does nothing where the user has set glibc's own variables, or another allocator is preloaded, or there is no glibc.

    Returns:
        Whether anything is set.
    """
    own = environment.get(SWITCH) == "system" or environment.get("LD_PRELOAD")
    if own or sys.platform != "linux" or any(name in environment for name in _USERS):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version") or not hasattr(library, "mallopt"):
        return False
    return any([library.mallopt(name, value) == 1 for name, value in _SETTINGS])  # noqa: C419  # each is to be tried
