"""Retention: which segments at the beginning of a log may go (``cleanup.policy=delete``).

Nothing that a transaction has not decided goes, whatever its age.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.local.broker.batch_index import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.local.broker.configs import LogConfig
    from headrace.local.broker.segment import Segment


def expired(segments: Sequence[Segment], config: LogConfig, *, stable: int, now: float) -> int:
    """How many segments, from the first on, may go; all of them when every record is too old.

    Args:
        segments: Of the log, at least one.
        config: The topic's limits.
        stable: The last stable offset.
        now: Milliseconds since 1970.
    """
    return max(_too_old(segments, config, stable, now), _too_many(segments, config, stable))


def _too_old(segments: Sequence[Segment], config: LogConfig, stable: int, now: float) -> int:
    if config.retention_ms < 0:
        return 0
    end = segments[-1].end
    for count, segment in enumerate(segments):
        # Markers alone have no time of their own.
        last = segment.time if segment.time > NO_TIME else segment.begun
        young = segment.size and last + config.retention_ms >= now
        if young or segment.end > stable or segment.base == end:
            return count
    return len(segments)


def _too_many(segments: Sequence[Segment], config: LogConfig, stable: int) -> int:
    """How many the log can lose and still have the bytes of retention."""
    if config.retention_bytes < 0:
        return 0
    excess = sum(segment.size for segment in segments) - config.retention_bytes
    for count, segment in enumerate(segments[:-1]):
        excess -= segment.size
        if excess < 0 or segment.end > stable:
            return count
    return len(segments) - 1
