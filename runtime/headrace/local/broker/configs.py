"""Topic configs: which names exist, their defaults, which values are refused, and what they mean to a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.local.broker.codes import Code, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGE_BYTES = "max.message.bytes"
_LONGEST = (1 << 63) - 1
_INT = (1 << 31) - 1
_NEVER = str(_LONGEST)
_DEFAULTS = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "file.delete.delay.ms": "60000",
    "flush.messages": _NEVER,
    "flush.ms": _NEVER,
    "index.interval.bytes": "4096",
    "max.compaction.lag.ms": _NEVER,
    MAX_MESSAGE_BYTES: "1048588",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "preallocate": "false",
    "retention.bytes": "-1",
    "retention.ms": "-1",
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.index.bytes": "10485760",
    "segment.jitter.ms": "0",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}
LISTS = {"cleanup.policy"}
"""Configs whose value is a list, which AlterConfigs may append to and subtract from."""
_CHOICES = {
    "compression.type": {"producer"},
    "message.timestamp.type": {"CreateTime"},
}
_POLICIES = {"delete", "compact"}
_RANGES = {
    "delete.retention.ms": (0, _LONGEST),
    "max.compaction.lag.ms": (1, _LONGEST),
    MAX_MESSAGE_BYTES: (0, _INT),
    "min.compaction.lag.ms": (0, _LONGEST),
    "retention.bytes": (-1, _LONGEST),
    "retention.ms": (-1, _LONGEST),
    "segment.bytes": (14, _INT),
    "segment.ms": (1, _LONGEST),
}


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What a topic's configs mean to its logs; times in milliseconds, sizes in bytes."""

    max_message_bytes: int = 16 * 1024 * 1024
    segment_bytes: int = 64 * 1024 * 1024
    segment_ms: int = 604_800_000
    retention_ms: int = -1
    """Age of the youngest record with which a segment goes; -1 is never."""
    retention_bytes: int = -1
    """Bytes above which the oldest segments go; -1 is never."""
    deletes: bool = True
    compacts: bool = False
    delete_retention_ms: int = 86_400_000
    """How long a tombstone is still to be read after the compaction that left nothing else of its key."""
    min_lag_ms: int = 0
    """Age below which a record is not compacted away."""
    max_lag_ms: int = _LONGEST
    """Age above which a record is compacted, however little there is to win."""
    dirty_ratio: float = 0.5
    """Part of the bytes that must be new since the last compaction."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> LogConfig:
        """From a topic's configs, already checked, and the defaults."""
        values = _DEFAULTS | dict(given)
        policies = _list(values["cleanup.policy"])
        return cls(
            max_message_bytes=int(values[MAX_MESSAGE_BYTES]),
            segment_bytes=int(values["segment.bytes"]),
            segment_ms=int(values["segment.ms"]),
            retention_ms=int(values["retention.ms"]),
            retention_bytes=int(values["retention.bytes"]),
            deletes="delete" in policies,
            compacts="compact" in policies,
            delete_retention_ms=int(values["delete.retention.ms"]),
            min_lag_ms=int(values["min.compaction.lag.ms"]),
            max_lag_ms=int(values["max.compaction.lag.ms"]),
            dirty_ratio=float(values["min.cleanable.dirty.ratio"]),
        )


def defaults(broker: Mapping[str, str]) -> dict[str, str]:
    """Every config that a topic has, with its default; the broker's own come first."""
    return {**_DEFAULTS, **broker}


def check(configs: Mapping[str, str]) -> None:
    """Check the configs that a client sets.

    Raises:
        Refusal: a name that Kafka does not have, or a value that this broker cannot honour.
    """
    for name, value in configs.items():
        if name not in _DEFAULTS:
            raise Refusal(Code.INVALID_CONFIG, f"Unknown topic config {name!r}")
        if name in _CHOICES and value not in _CHOICES[name]:
            choices = ", ".join(sorted(_CHOICES[name]))
            raise Refusal(Code.INVALID_CONFIG, f"{name} may be {choices}, not {value!r}")
        if name == "cleanup.policy" and not (value and set(_list(value)) <= _POLICIES):
            raise Refusal(Code.INVALID_CONFIG, f"{name} may be delete, compact, or both with a comma, not {value!r}")
        if name in _RANGES:
            _check_number(name, value)
        if name == "min.cleanable.dirty.ratio":
            _check_ratio(name, value)


def appended(name: str, present: str, value: str, *, subtract: bool) -> str:
    """A list config with values added, or taken out.

    Raises:
        Refusal: the config is no list.
    """
    if name not in LISTS:
        raise Refusal(
            Code.INVALID_CONFIG, f"{name} is no list: it is set or deleted, not appended to or subtracted from"
        )
    named = _list(value)
    kept = [one for one in _list(present) if one not in named]
    return ",".join(kept if subtract else [*kept, *named])


def _list(value: str) -> list[str]:
    return [one.strip() for one in value.split(",") if one.strip()]


def _check_number(name: str, value: str) -> None:
    lowest, highest = _RANGES[name]
    try:
        number = int(value)
    except ValueError:
        number = lowest - 1
    if not lowest <= number <= highest:
        raise Refusal(Code.INVALID_CONFIG, f"{name} is a number from {lowest} to {highest}, not {value!r}")


def _check_ratio(name: str, value: str) -> None:
    try:
        ratio = float(value)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise Refusal(Code.INVALID_CONFIG, f"{name} is a number from 0 to 1, not {value!r}")
