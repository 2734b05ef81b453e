"""The lives of metered replicas, told to Kafka by the twin: it started and ended their processes.

A server tells what its seconds were used for, up to its last word; from the two, a report knows every second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from headrace.eventing.kafka.environment import kafka_settings
from headrace.eventing.kafka.outbox import Outbox
from headrace.eventing.kafka.settings import KafkaSettings
from headrace.eventing.usage import usage_event
from headrace.serving.metering.setup import REPLICA, TOPIC, place_of
from headrace.serving.settings import identity
from headrace.telemetry.usage.record import Life

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.replica import Replica
    from headrace.local.resources import Service

_CLOSE = 5.0
"""Seconds for the last lives to be written."""


class Lives:
    """Tells of replicas that have ended, each to the usage topic of its app.

    Args:
        bootstrap: ``host:port`` of Kafka.
        environment: TLS and login of a broker of one's own; None for the embedded one.
    """

    def __init__(self, bootstrap: str, environment: Mapping[str, str] | None = None) -> None:
        self._settings = (
            KafkaSettings(bootstrap) if environment is None else kafka_settings(environment, bootstrap=bootstrap)
        )
        self._outboxes: dict[str, Outbox] = {}

    def ended(self, service: Service, replica: Replica) -> None:
        """A replica's process is gone."""
        environment = service.container.environment
        topic = environment.get(TOPIC)
        if not topic or not replica.pid:
            return
        place = place_of(identity(service.app, environment), service.role, {**environment, REPLICA: replica.unique})
        life = Life(
            namespace=place.namespace,
            app=place.app,
            component=place.component,
            replica=place.replica,
            cpu=place.cpu,
            memory_bytes=place.memory_bytes,
            gpu=place.gpu,
            seconds=replica.lived,
            ready_seconds=replica.ready_after,
        )
        if topic not in self._outboxes:
            self._outboxes[topic] = Outbox(self._settings, topic)
        self._outboxes[topic].put([usage_event(life, "life", time.time())])

    def close(self) -> None:
        """Write what is left; blocks for a few seconds at most."""
        for outbox in self._outboxes.values():
            outbox.close(_CLOSE)
