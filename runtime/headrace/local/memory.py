"""The memory limit of a container, as the system's limit of a process's own writable memory (``RLIMIT_DATA``).

A cgroup would count what is resident, as Kubernetes does, but an ordinary user may make none in most sessions. Files
that are mapped, such as weights, do not count in either; a GPU's driver would, so a container with one has no limit.
"""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.local.place import Place

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?\Z")
_SIZES = {"": 1, **{f"{unit}i": 1024**power for power, unit in enumerate("KMGT", 1)}}
_SIZES |= {unit: 1000**power for power, unit in enumerate("kMGT", 1)}


def read_memory(container: Place) -> int:
    """Bytes of the container's limit; 0 where it has none, or a GPU."""
    limits = container.mapping("resources").mapping("limits")
    if limits.at("memory").value is None or any("gpu" in str(name) for name in limits.value):
        return 0
    found = _QUANTITY.match(limits.text("memory"))
    if not found:
        limits.at("memory").fault(f"is {limits.text('memory')!r}, not an amount such as 512Mi")
        return 0
    return int(float(found[1]) * _SIZES[found[2] or ""])


def limit_memory(pid: int, limit: int) -> None:
    """Bound what the process, and all that it starts later, may have of its own; only Linux knows how for others."""
    if limit and sys.platform == "linux":
        import resource  # noqa: PLC0415 - not on Windows

        # It may be gone already.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
