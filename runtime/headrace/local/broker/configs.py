"""Topic configs: which names exist, their defaults, and which values are refused.

Only ``max.message.bytes`` has an effect. The others are stored and told back: this broker keeps every record until
DeleteRecords or the topic's deletion, and compacts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.local.broker.codes import Code, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGE_BYTES = "max.message.bytes"
_DEFAULTS = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "file.delete.delay.ms": "60000",
    "flush.messages": "9223372036854775807",
    "flush.ms": "9223372036854775807",
    "index.interval.bytes": "4096",
    "max.compaction.lag.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "preallocate": "false",
    "retention.bytes": "-1",
    "retention.ms": "-1",
    "segment.bytes": "1073741824",
    "segment.index.bytes": "10485760",
    "segment.jitter.ms": "0",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}
_CHOICES = {
    "cleanup.policy": {"delete", "compact", "compact,delete", "delete,compact"},
    "compression.type": {"producer"},
    "message.timestamp.type": {"CreateTime"},
}


def defaults(max_message_bytes: int) -> dict[str, str]:
    """Every config that a topic has, with its default."""
    return {**_DEFAULTS, MAX_MESSAGE_BYTES: str(max_message_bytes)}


def check(configs: Mapping[str, str]) -> None:
    """Check the configs that a client sets.

    Raises:
        Refusal: a name that Kafka does not have, or a value that this broker cannot honour.
    """
    for name, value in configs.items():
        if name != MAX_MESSAGE_BYTES and name not in _DEFAULTS:
            raise Refusal(Code.INVALID_CONFIG, f"Unknown topic config {name!r}")
        if name in _CHOICES and value not in _CHOICES[name]:
            choices = ", ".join(sorted(_CHOICES[name]))
            raise Refusal(Code.INVALID_CONFIG, f"{name} may be {choices}, not {value!r}")
        if name == MAX_MESSAGE_BYTES and not (value.isdecimal() and int(value) < 1 << 31):
            raise Refusal(Code.INVALID_CONFIG, f"{name} is a number of bytes below 2 GiB, not {value!r}")
