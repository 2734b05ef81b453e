"""How many CPUs this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = "HEADRACE_CPU_LIMIT"
"""Environment variable: the container's CPU limit as ``resources.cpu`` states it (``2``, ``500m``)."""
_CGROUP = Path("/sys/fs/cgroup")


def cpu_limit(environment: Mapping[str, str] = os.environ, cgroup: Path = _CGROUP) -> int:
    """Whole CPUs: the smallest of ``HEADRACE_CPU_LIMIT``, the cgroup's quota and the CPUs this process may run on.

    A library that counts the machine's CPUs instead starts 64 threads in a container that may use two of them, and
    they spend their time waiting for each other.

    Raises:
        ConfigurationError: ``HEADRACE_CPU_LIMIT`` is no CPU quantity.
    """
    limits = [_stated(environment), _quota(cgroup), float(_allowed())]
    return max(1, math.ceil(min(limit for limit in limits if limit is not None)))


def _stated(environment: Mapping[str, str]) -> float | None:
    text = environment.get(LIMIT)
    if not text:
        return None
    try:
        value = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{LIMIT}={text!r} is no number of CPUs", hint="write 2, 0.5 or 500m")
    return value


def _quota(cgroup: Path) -> float | None:
    # cgroup v2: "200000 100000" or "max 100000"; v1: two files, a quota of -1 is none.
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
