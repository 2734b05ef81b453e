"""Kubernetes resources -> what runs here: services (a process behind the activator) and workloads (always up).

Pure: nothing is started, no file is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic that the app needs (``KafkaTopic`` of Strimzi)."""

    name: str
    partitions: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
