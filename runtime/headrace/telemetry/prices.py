"""What a replica costs: a file of prices -> the cost of seconds.

currency: EUR
cpuHour: 0.04             # one CPU for an hour
memoryGibHour: 0.005      # one GiB for an hour
gpuHour: 2.40             # one GPU for an hour
replicaHour: 0            # one replica for an hour, whatever its size
apps:                     # other prices for some apps, by NAMESPACE/NAME
  vision/picture-labels: {gpuHour: 1.10}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOUR = 3600.0
GIB = 1 << 30
_KEYS = {
    "replicaHour": "replica_hour",
    "cpuHour": "cpu_hour",
    "memoryGibHour": "memory_gib_hour",
    "gpuHour": "gpu_hour",
}


@dataclass(frozen=True, slots=True)
class ReplicaSize:
    """What one replica holds while it is there, used or not."""

    cpu: float = 0.0
    """Cores."""
    memory: float = 0.0
    """Bytes."""
    gpu: float = 0.0
    """GPUs."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of an hour, in the file's currency."""

    replica_hour: float = 0.0
    """Of one replica, whatever its size."""
    cpu_hour: float = 0.0
    """Of one core."""
    memory_gib_hour: float = 0.0
    """Of one GiB of memory."""
    gpu_hour: float = 0.0
    """Of one GPU."""

    def of_an_hour(self, size: ReplicaSize) -> float:
        """The price of one replica of this size for an hour."""
        sized = size.cpu * self.cpu_hour + size.memory / GIB * self.memory_gib_hour + size.gpu * self.gpu_hour
        return self.replica_hour + sized


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices for every app."""

    currency: str
    rates: Rates
    """Of every app that has none of its own."""
    apps: Mapping[str, Rates] = field(default_factory=dict)
    """By ``NAMESPACE/NAME``."""

    def cost(self, seconds: float, size: ReplicaSize, app: str = "") -> float:
        """The cost of so many seconds of one replica.

        Args:
            seconds: Compute seconds, or any other share of a replica's seconds.
            size: Of the replica.
            app: ``NAMESPACE/NAME``.
        """
        return seconds / HOUR * self.apps.get(app, self.rates).of_an_hour(size)


def read_prices(path: Path) -> Prices:
    """The prices of a file.

    Raises:
        ConfigurationError: the file cannot be read, or is none of prices; every mistake is named.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigurationError(f"Cannot read {path}: {fault.strerror}") from fault
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(fault).split())}") from fault
    problems: list[str] = []
    found = _prices(document, problems)
    if problems:
        raise ConfigurationError(
            f"{path} holds no prices", problems=tuple(problems), hint="docs/usage.md shows a file of prices"
        )
    return found


def _prices(document: Any, problems: list[str]) -> Prices:
    if not isinstance(document, dict):
        problems.append("it is no mapping")
        return Prices("", Rates())
    currency = document.get("currency")
    if not isinstance(currency, str) or not currency:
        problems.append("currency: write a text, such as EUR")
    apps = document.get("apps") or {}
    rates = _rates({k: v for k, v in document.items() if k not in ("currency", "apps")}, "", Rates(), problems)
    if not isinstance(apps, dict):
        problems.append("apps: write a mapping of NAMESPACE/NAME to prices")
        apps = {}
    own = {str(name): _rates(prices, f"apps.{name}.", rates, problems) for name, prices in apps.items()}
    return Prices(str(currency), rates, own)


def _rates(document: Any, place: str, usual: Rates, problems: list[str]) -> Rates:
    """``usual`` with what this mapping says."""
    if not isinstance(document, dict):
        problems.append(f"{place.rstrip('.')}: write a mapping of prices")
        return usual
    said: dict[str, float] = {}
    for key, value in document.items():
        if key not in _KEYS:
            problems.append(f"{place}{key}: unknown; there are {', '.join(_KEYS)}")
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            problems.append(f"{place}{key}: {value!r} is no price of an hour; write a number, 0 or more")
        else:
            said[_KEYS[key]] = float(value)
    return replace(usual, **said)
