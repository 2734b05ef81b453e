"""What Prometheus reads of the embedded broker. No topic has a series of its own: clients make topics at will."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from headrace.local.broker.server import EmbeddedBroker


class BrokerMeasures:
    """A broker as gauges; nothing of one that does not run.

    Args:
        broker: The broker.
    """

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    def collect(self) -> Iterable[Metric]:
        """The gauges now."""
        topics = self._broker.topics
        logs = [log for topic in topics for log in tuple(topic.partitions)]
        numbers = {
            "topics": ("Topics.", len(topics)),
            "partitions": ("Partitions of all topics.", len(logs)),
            "log_bytes": ("Bytes of all logs on the disk.", sum(log.size for log in logs)),
            "log_segments": ("Files of all logs.", sum(log.segments for log in logs)),
            "open_transactions": (
                "Transactions under way, one a partition.",
                sum(len(log.open_transactions) for log in logs),
            ),
            "connections": ("Clients' connections.", self._broker.connected),
        }
        return [GaugeMetricFamily(f"headrace_broker_{name}", says, value) for name, (says, value) in numbers.items()]
