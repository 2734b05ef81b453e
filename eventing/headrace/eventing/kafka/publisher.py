"""Publishes single events, acknowledged by Kafka (idempotent producer: a retry inside the client doubles nothing)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from headrace.eventing.codec.kafka import write_record
from headrace.eventing.kafka.faults import translate
from headrace.eventing.kafka.transaction import MOST_RECORD_BYTES
from headrace.eventing.log import Partition
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from opentelemetry.trace import Span
    from typing_extensions import Self

    from headrace.eventing.event import CloudEvent

ACK_TIMEOUT = 30.0
"""Seconds to wait for the broker's acknowledgement."""


class Publisher:
    """A producer of CloudEvents; a context manager that waits for nothing but the acknowledgements.

    Args:
        bootstrap: ``HOST:PORT`` of the broker.

    Raises:
        UnavailableError: no broker answers.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._tracer = tracing.tracer(__name__)
        try:
            self._producer: Any = KafkaProducer(
                bootstrap_servers=bootstrap,
                client_id="headrace-publish",
                max_request_size=MOST_RECORD_BYTES,
                max_block_ms=int(ACK_TIMEOUT * 1000),
                bootstrap_timeout_ms=5_000,
            )
        except KafkaError as fault:
            raise translate(fault, f"connect to Kafka at {bootstrap}") from fault

    def publish(self, topic: str, events: Sequence[CloudEvent]) -> list[tuple[Partition, int]]:
        """Publish the events, each as a trace of its own; where each one lies, once Kafka has all of them.

        Raises:
            UnavailableError: not acknowledged in time; some may be there.
            PayloadTooLargeError: an event is over the topic's limit.
        """
        try:
            sent = [self._send(topic, event) for event in events]
            return [_place(future.get(timeout=ACK_TIMEOUT)) for future in sent]
        except KafkaError as fault:
            raise translate(fault, f"publish to {topic} in Kafka at {self._bootstrap}") from fault

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close(timeout=5)

    def _send(self, topic: str, event: CloudEvent) -> Any:
        """Hand one record to the client; its PRODUCER span ends with the acknowledgement."""
        span = self._tracer.start_span(
            f"publish {topic}",
            tracing.extract(event.attributes),
            kind=tracing.SpanKind.PRODUCER,
            attributes=_attributes(topic, event),
        )
        record = write_record(event, topic, trace=tracing.inject(span))
        key = b"" if record.key is None and record.value is None else record.key
        try:
            future = self._producer.send(topic, record.value, key=key, headers=list(record.headers))
        except BaseException as fault:
            tracing.fail(span, fault)
            span.end()
            raise
        future.add_callback(lambda _: span.end())
        future.add_errback(lambda fault: _refused(span, fault))
        return future


def _refused(span: Span, fault: BaseException) -> None:
    tracing.fail(span, fault)
    span.end()


def _attributes(topic: str, event: CloudEvent) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.id": event.id,
        "messaging.message.body.size": len(event.data or b""),
        "cloudevents.event_id": event.id,
        "cloudevents.event_source": event.source,
        "cloudevents.event_type": event.type,
    }


def _place(acknowledged: Any) -> tuple[Partition, int]:
    return Partition(acknowledged.topic, acknowledged.partition), acknowledged.offset
