"""What Prometheus reads of a dispatcher; alerts and dashboard of ``spec.metrics`` ask for these names.

headrace_dispatcher_events_total{outcome}              events done with: answered, dead_letter, skipped
headrace_dispatcher_skipped_total{reason}              events that no filter meant: `no match`, or a CESQL error's kind
headrace_dispatcher_event_seconds                      from a record's arrival here to its committed answer
headrace_dispatcher_dead_letters_total{reason}         dead letters written
headrace_dispatcher_dead_letter_failures_total         dead letters that could not be written: their partition waits
headrace_dispatcher_cold_start_seconds                 how long events waited for a replica
headrace_dispatcher_concurrency                        events that may be under way at once, at present
headrace_dispatcher_paused                             1 while nothing new is delivered
headrace_dispatcher_stuck_partitions                   partitions that wait for a dead letter to be written
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.outcome import Outcome

_log = logging.getLogger(__name__)
PORT_VARIABLE = "HEADRACE_METRICS_PORT"
"""Environment variable: where a dispatcher serves its metrics; nowhere unless it is set."""
# A model answers in milliseconds or in minutes; a GPU's cold start takes minutes.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class DispatchMetrics:
    """The numbers of one dispatcher; a registry of its own, so that two in one process do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = self._counter("events", "Events done with.", "outcome")
        self._skipped = self._counter("skipped", "Events that no filter meant.", "reason")
        self._letters = self._counter("dead_letters", "Dead letters written.", "reason")
        self._failures = self._counter("dead_letter_failures", "Dead letters that could not be written.")
        self._seconds = self._histogram("event_seconds", "From a record's arrival to its committed answer.")
        self._cold = self._histogram("cold_start_seconds", "How long events waited for a replica.")

    def written(self, outcome: Outcome, seconds: float) -> None:
        """An event is done with, this many seconds after its record came."""
        self._events.labels(outcome.ending).inc()
        self._seconds.observe(seconds)
        if outcome.ending == "skipped":
            self._skipped.labels(outcome.reason).inc()
        elif outcome.ending == "dead_letter":
            self._letters.labels(outcome.reason).inc()

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

    def page(self) -> bytes:
        """Everything, in Prometheus' text format, with the process's own numbers."""
        return generate_latest(self._registry) + generate_latest(REGISTRY)

    def serve(self, port: int, host: str = "0.0.0.0") -> Callable[[], None]:  # noqa: S104  # Prometheus asks from outside the pod
        """Answer Prometheus at this port, in a thread; how it is ended.

        Raises:
            ConfigurationError: the port is taken or needs rights.
        """
        try:
            server, thread = start_http_server(port, host, self._registry)
        except OSError as fault:
            raise ConfigurationError(
                f"Metrics cannot be served at port {port}: {fault.strerror}", hint=f"set {PORT_VARIABLE} to another"
            ) from fault

        _log.info("metrics at port %d", server.server_port)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"headrace_dispatcher_{name}", says, labels, registry=self._registry)

    def _histogram(self, name: str, says: str) -> Histogram:
        return Histogram(f"headrace_dispatcher_{name}", says, registry=self._registry, buckets=_SECONDS)
