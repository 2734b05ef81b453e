"""What spans say of events and of Kafka (OpenTelemetry semantic conventions: messaging, Kafka, CloudEvents).

Names stand here as text, so that no span costs an import; a test holds them against the conventions' own package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.log import Record

    Attributes = dict[str, AttributeValue]


def of_event(event: CloudEvent) -> Attributes:
    """Which event."""
    attributes = event.attributes
    found: Attributes = {
        "cloudevents.event_id": event.id,
        "cloudevents.event_source": event.source,
        "cloudevents.event_type": event.type,
        "cloudevents.event_spec_version": attributes.get("specversion", "1.0"),
    }
    if subject := attributes.get("subject"):
        found["cloudevents.event_subject"] = subject
    return found


def publishing(topic: str, event: CloudEvent) -> Attributes:
    """An event on its way into a topic."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.id": event.id,
        "messaging.message.body.size": len(event.data or b""),
        **of_event(event),
    }


def consuming(operation: str, record: Record, event: CloudEvent, group: str) -> Attributes:
    """An event that came out of a topic; ``operation`` is ``receive`` or ``process``."""
    found: Attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": record.partition.topic,
        "messaging.destination.partition.id": str(record.partition.number),
        "messaging.kafka.offset": record.offset,
        "messaging.message.id": event.id,
        "messaging.message.body.size": len(record.value or b""),
        **of_event(event),
    }
    if group:
        found["messaging.consumer.group.name"] = group
    if record.value is None:
        found["messaging.kafka.message.tombstone"] = True
    return found
