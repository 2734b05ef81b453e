"""What a user of the embedded broker may choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Limits and habits of one embedded broker."""

    auto_create_topics: bool = True
    """Whether a topic comes into being when a client first names it."""
    default_partitions: int = 1
    """Partitions of a topic that is created without a number."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Largest record batch, in bytes, of a topic without its own ``max.message.bytes``: pictures fit."""
    max_request_bytes: int = 64 * 1024 * 1024
    """Largest request frame in bytes; a longer one closes its connection."""
    flush: bool = False
    """Whether every acknowledgement waits for ``fdatasync``. Without it, what was acknowledged survives the end of
    the process, SIGKILL as well, but a power cut may lose the last seconds that the kernel had not written back."""
    initial_rebalance_delay: float = 0.1
    """Seconds that an empty group waits for more members before its first assignment."""
    min_session_timeout: int = 100
    """Shortest session timeout, in milliseconds, that a group member may ask for."""
    max_session_timeout: int = 1_800_000
    """Longest session timeout, in milliseconds, that a group member may ask for."""
    max_transaction_timeout: int = 900_000
    """Longest transaction timeout, in milliseconds, that a producer may ask for."""
    max_offset_metadata: int = 4096
    """Longest text, in UTF-8 bytes, that may be committed beside an offset."""
