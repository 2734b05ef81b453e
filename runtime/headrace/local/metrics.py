"""What Prometheus reads of the twin, at ``/metrics`` of its ingress: what a cluster's own exporters tell there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily

from headrace.telemetry.metrics.exposition import Joined, page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

    from headrace.local.status import TwinStatus

_SERVICE = ("namespace", "service")
_STATES = ("starting", "ready", "suspect", "draining")


class TwinMeasures:
    """The twin's status as gauges.

    Args:
        status: Asked whenever Prometheus asks.
    """

    def __init__(self, status: Callable[[], TwinStatus]) -> None:
        self._status = status

    def page(self) -> bytes:
        """Everything, with the process's own numbers."""
        return page(Joined(self, REGISTRY))

    def collect(self) -> Iterable[Metric]:
        """The gauges now."""
        replicas = _family("headrace_twin_replicas", "Replicas of a service.", *_SERVICE, "state")
        desired = _family("headrace_twin_desired_replicas", "Replicas that the autoscaler wants.", *_SERVICE)
        flying = _family("headrace_twin_in_flight_requests", "Requests at a replica.", *_SERVICE)
        queued = _family("headrace_twin_queued_requests", "Requests that wait for a replica.", *_SERVICE)
        cold = _family("headrace_twin_last_cold_start_seconds", "The last start, until it was ready.", *_SERVICE)
        up = _family("headrace_twin_workload_up", "1 while a dispatcher's process is there.", "namespace", "workload")
        status = self._status()
        for service in status.services:
            labels = [service.namespace, service.name]
            states = Counter[str](replica.state for replica in service.replicas)
            for state in _STATES:
                replicas.add_metric([*labels, state], states[state])
            desired.add_metric(labels, service.desired)
            flying.add_metric(labels, service.in_flight)
            queued.add_metric(labels, service.queued)
            if service.cold_start is not None:
                cold.add_metric(labels, service.cold_start)
        for workload in status.workloads:
            up.add_metric([workload.namespace, workload.name], int(workload.state == "running"))
        return replicas, desired, flying, queued, cold, up


def _family(name: str, says: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, labels=labels)
