"""How much memory models take, and giving back what they took."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from typing import Any

_PAGE = 4096
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Bytes of this process in memory that are its own: files that are mapped are shared with others, and not counted.

    0 where the system does not say.
    """
    try:
        fields = _STATM.read_text(encoding="ascii").split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE


def model_bytes(model: Any, grown: int) -> int:
    """What a model takes.

    Args:
        model: It says so itself where it has ``memory_bytes``, a number or a method: of bytes on a device, of mapped
            files, of another process nobody else knows.
        grown: By how many bytes the process grew while it was loaded, for every other.
    """
    own = getattr(model, "memory_bytes", None)
    if callable(own):
        own = own()
    return int(own) if isinstance(own, int | float) and own > 0 else max(0, grown)


def give_back() -> None:
    """Return the memory of a model that has gone to the system: the allocator is told to keep it for the next run."""
    gc.collect()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
