"""Publishes single events, acknowledged by Kafka (idempotent producer: a retry inside the client doubles nothing)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from headrace.eventing import spans
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.kafka.driver import ProducerOptions, driver_of
from headrace.eventing.kafka.settings import as_settings
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from opentelemetry.trace import Span
    from typing_extensions import Self

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.driver import Producer
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Partition

ACK_TIMEOUT = 30.0
"""Seconds to wait for the broker's acknowledgement."""
CONNECT_TIMEOUT = 5.0
"""Seconds for the first connection: a person waits."""
CLOSE_TIMEOUT = 5.0
MOST_UNACKNOWLEDGED = 32 * 1024 * 1024
"""Bytes of events handed to the client before their acknowledgements are waited for: memory stays bounded."""


class Publisher:
    """A producer of CloudEvents; a context manager that waits for nothing but the acknowledgements.

    Args:
        kafka: The cluster.

    Raises:
        UnavailableError: no broker answers.
        ConfigurationError: the broker refuses the login.
    """

    def __init__(self, kafka: KafkaSettings | str) -> None:
        self._settings = as_settings(kafka)
        self._driver = driver_of(self._settings)
        self._tracer = tracing.tracer(__name__)
        self._producer = self._open()
        self._failed = False

    def publish(self, topic: str, events: Sequence[CloudEvent]) -> list[tuple[Partition, int]]:
        """Publish the events; where each one lies, once Kafka has all of them.

        Raises:
            UnavailableError: not acknowledged in time; some may be there.
            PayloadTooLargeError: an event is over the topic's limit; some of the others may be there.
        """
        if self._failed:
            self._renew()
        try:
            with self._driver.faults(f"publish to {topic} in Kafka at {self._settings.bootstrap}", self._settings):
                return self._publish(topic, events)
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close(CLOSE_TIMEOUT)

    def _open(self) -> Producer:
        options = ProducerOptions(client_id="headrace-publish", block=ACK_TIMEOUT, connect=CONNECT_TIMEOUT)
        with self._driver.faults(f"connect to Kafka at {self._settings.bootstrap}", self._settings):
            return self._driver.producer(self._settings, options)

    def _renew(self) -> None:
        # kafka-python's idempotent producer sends nothing more after a record that the broker refused.
        fresh = self._open()
        self._producer.close(CLOSE_TIMEOUT)
        self._producer, self._failed = fresh, False

    def _publish(self, topic: str, events: Sequence[CloudEvent]) -> list[tuple[Partition, int]]:
        places: list[tuple[Partition, int]] = []
        waiting = 0
        for event in events:
            try:
                self._send(topic, event)
            except BaseException:
                self._producer.flush(ACK_TIMEOUT)
                raise
            waiting += len(event.data or b"")
            if waiting >= MOST_UNACKNOWLEDGED:
                places += self._producer.flush(ACK_TIMEOUT)
                waiting = 0
        return places + self._producer.flush(ACK_TIMEOUT)

    def _send(self, topic: str, event: CloudEvent) -> None:
        """Hand one record to the client; its PRODUCER span ends with the acknowledgement.

        The event goes on in the trace that it names, else in the caller's own, else in a new one.
        """
        context = tracing.extract(event.attributes)
        if not tracing.is_known(otel.get_current_span(context)):
            context = otel_context.get_current()
        span = self._tracer.start_span(f"publish {topic}", context, kind=tracing.SpanKind.PRODUCER)
        tracing.describe(span, spans.publishing, topic, event)
        record = write_record(event, topic, trace=tracing.inject(span, context))
        try:
            self._producer.send(record, lambda fault: _told(span, fault))
        except BaseException as fault:
            _told(span, fault)
            raise


def _told(span: Span, fault: BaseException | None) -> None:
    if fault is not None:
        tracing.fail(span, fault)
    span.end()
