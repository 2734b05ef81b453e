"""What Prometheus reads of usage.

headrace_usage_events_total{model, tenant}                    events answered, each where it came in first
headrace_usage_replica_seconds_total{model, tenant, phase}    phase is compute, cold_start or idle
headrace_usage_dropped_total                                  records of usage that Kafka did not take in time
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client import Counter
from prometheus_client.core import REGISTRY, CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from headrace.telemetry.usage.record import Usage

MOST_TENANTS = 100
"""Tenants with a time series of their own in one process; those that come later are `other`."""
_OTHER = "other"
_NOBODY = "nobody"


class UsageMeasures:
    """The numbers of one process.

    Args:
        dropped: How many records were given up so far.
    """

    def __init__(self, dropped: Callable[[], int]) -> None:
        self._events, self._seconds = _counters()
        self._tenants: set[str] = set()
        _dropped().ask = dropped

    def told(self, usages: Sequence[Usage]) -> None:
        """Count what was told."""
        for usage in usages:
            tenant = self._bounded(usage.tenant)
            if usage.events:
                self._events.labels(usage.model, tenant).inc(usage.events)
            for phase in ("compute", "cold_start", "idle"):
                seconds = getattr(usage, f"{phase}_seconds")
                if seconds:
                    self._seconds.labels(usage.model, tenant, phase).inc(seconds)

    def _bounded(self, tenant: str) -> str:
        if not tenant:
            return _NOBODY
        if tenant not in self._tenants:
            if len(self._tenants) >= MOST_TENANTS:
                return _OTHER
            self._tenants.add(tenant)
        return tenant


class _Dropped:
    """Asked whenever Prometheus asks."""

    def __init__(self) -> None:
        self.ask: Callable[[], int] = lambda: 0

    def collect(self) -> Iterator[Metric]:
        """The one number."""
        yield CounterMetricFamily("headrace_usage_dropped", "Records of usage that were given up.", self.ask())


@lru_cache(maxsize=1)
def _counters() -> tuple[Counter, Counter]:
    """Made once a process: Prometheus refuses a second one of a name."""
    return (
        Counter("headrace_usage_events", "Events answered, where they came in first.", ("model", "tenant")),
        Counter("headrace_usage_replica_seconds", "Shares of the replica's seconds.", ("model", "tenant", "phase")),
    )


@lru_cache(maxsize=1)
def _dropped() -> _Dropped:
    collector = _Dropped()
    REGISTRY.register(collector)
    return collector
