"""What Prometheus reads of a dispatcher; alerts and dashboard of ``spec.metrics`` ask for these names.

docs/metrics.md says what each is. Counters and histograms are told as things happen; what is seen at a moment (lag,
ages, work in hand) is a :class:`Sight`, taken by the dispatcher's loop once a second and read by whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from headrace.telemetry.metrics.bounded import Bounded
from headrace.telemetry.metrics.exposition import PORT_VARIABLE, Joined, page, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

    from headrace.eventing.log import Partition
    from headrace.eventing.outcome import Outcome

# A model answers in milliseconds or in half an hour; a GPU's cold start takes minutes.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_MOST_REASONS = 50
_NO_ANSWER = "none"


@dataclass(frozen=True, slots=True)
class Sight:
    """What a dispatcher has before it at one moment."""

    lag: Mapping[Partition, int] = field(default_factory=dict)
    """Records that are not committed yet, by partition of this dispatcher."""
    oldest: float = 0.0
    """Age of the oldest record in hand, in seconds; 0 without one."""
    commit_age: float = 0.0
    """Seconds since the last commit while records are in hand; 0 without one."""
    in_hand: int = 0
    """Records that were read and are not done."""
    under_way: int = 0
    """Events at the receiver."""


class DispatchMetrics:
    """The numbers of one dispatcher; a registry of its own, so that two in one process do not meet."""

    def __init__(self) -> None:
        self.sight = Sight()
        """What was seen last."""
        self._registry = CollectorRegistry()
        self._received = self._counter("received", "Records taken into work.")
        self._duplicates = self._counter("duplicates", "Records that came again, and are done or in work.")
        self._events = self._counter("events", "Events done with.", "outcome")
        self._skipped = self._counter("skipped", "Events that no filter meant.", "reason")
        self._failed = self._counter("failed_attempts", "Deliveries that failed, by HTTP status.", "status")
        self._retries = self._counter("retries", "Deliveries that are tried again.")
        self._letters = self._counter("dead_letters", "Dead letters written.", "reason")
        self._failures = self._counter("dead_letter_failures", "Dead letters that could not be written.")
        self._seconds = self._histogram("event_seconds", "From a record's arrival to its committed answer.")
        self._published = self._histogram("publish_to_result_seconds", "From publishing to the committed answer.")
        self._cold = self._histogram("cold_start_seconds", "How long events waited for a replica.")
        self._reason = Bounded(_MOST_REASONS)
        self._registry.register(_Seen(self))

    def received(self, *, fresh: bool) -> None:
        """A record has come; not fresh where it is done or in work already."""
        (self._received if fresh else self._duplicates).inc()

    def written(self, outcome: Outcome, seconds: float, now: float) -> None:
        """An event is done with, this many seconds after its record came, at ``now`` in seconds of Unix time."""
        self._events.labels(outcome.ending).inc()
        self._seconds.observe(seconds)
        if outcome.ending == "skipped":
            self._skipped.labels(self._reason(outcome.reason)).inc()
        elif outcome.ending == "dead_letter":
            self._letters.labels(outcome.reason).inc()
        elif outcome.record.timestamp >= 0:
            self._published.observe(max(0.0, now - outcome.record.timestamp / 1000))

    def failed(self, status: int | None, *, again: bool) -> None:
        """A delivery has failed with this HTTP status, None without one; ``again``: it is tried once more."""
        self._failed.labels(str(status) if status else _NO_ANSWER).inc()
        if again:
            self._retries.inc()

    def dead_letter_failed(self, count: int) -> None:
        """So many dead letters could not be written just now."""
        self._failures.inc(count)

    def waited(self, seconds: float) -> None:
        """An event has waited for a replica."""
        self._cold.observe(seconds)

    def watch(self, name: str, says: str, value: Callable[[], float]) -> None:
        """Show what ``value`` returns, whenever it is asked."""
        Gauge(f"headrace_dispatcher_{name}", says, registry=self._registry).set_function(value)

    def value(self, name: str, **labels: str) -> float:
        """One number of the page; 0 where it was never counted."""
        return self._registry.get_sample_value(name, labels) or 0.0

    @property
    def all(self) -> Joined:
        """These, and the process's own."""
        return Joined(self._registry, REGISTRY)

    def page(self) -> bytes:
        """Everything, in Prometheus' text format, with the process's own numbers."""
        return page(self.all)

    def serve(self, port: int, host: str = "0.0.0.0") -> Callable[[], None]:  # noqa: S104  # Prometheus asks from outside the pod
        """Answer Prometheus at this port, in a thread; how it is ended.

        Raises:
            ConfigurationError: the port is taken or needs rights.
        """
        return serve(self.all, port, host)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"headrace_dispatcher_{name}", says, labels, registry=self._registry)

    def _histogram(self, name: str, says: str) -> Histogram:
        return Histogram(f"headrace_dispatcher_{name}", says, registry=self._registry, buckets=_SECONDS)


class _Seen:
    """The last sight as gauges."""

    def __init__(self, metrics: DispatchMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """The gauges."""
        sight = self._metrics.sight
        lag = GaugeMetricFamily(
            "headrace_dispatcher_lag_records", "Records that are not committed yet.", labels=("topic", "partition")
        )
        for partition, records in sight.lag.items():
            lag.add_metric((partition.topic, str(partition.number)), records)
        yield lag
        yield _gauge("oldest_record_age_seconds", "Age of the oldest record in hand.", sight.oldest)
        yield _gauge("commit_age_seconds", "Since the last commit, while records are in hand.", sight.commit_age)
        yield _gauge("in_hand_records", "Records that were read and are not done.", sight.in_hand)
        yield _gauge("in_flight_events", "Events at the receiver.", sight.under_way)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"headrace_dispatcher_{name}", says, value)


__all__ = ["PORT_VARIABLE", "DispatchMetrics", "Sight"]
