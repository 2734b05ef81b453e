"""A dead-letter topic that refuses, on a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from tests.eventing.delivery.conftest import event

from headrace.testing.app import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.codec.http import Mode
    from headrace.eventing.event import CloudEvent


def limit_dead_letters(kafka: str, limit: int) -> None:
    """Let the dead-letter topic take records up to so many bytes."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        setting = {"max.message.bytes": str(limit)}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "in.dead-letters", setting)])
    finally:
        admin.close()


def answer(events: list[CloudEvent], _: Mode) -> tuple[int, dict[str, str], bytes]:
    """Event 0 is refused, all others are answered."""
    return (400, {}, b"no") if events[0].id == "0" else (200, {"content-type": "text/plain"}, b"ok")


def test_a_letter_waits_until_its_topic_takes_it(delivering: Callable[..., Any]) -> None:
    """Until then its record is not done and the alert counts; then it is written once, and its partition goes on."""
    with delivering() as delivery:
        limit_dead_letters(delivery.kafka, 200)
        delivery.receiver.answer = answer
        delivery.publish(event(0, partitionkey="a"))
        until(lambda: delivery.metric("headrace_dispatcher_stuck_partitions") == 1, "a partition waits", 60)
        delivery.publish(*(event(n, partitionkey=str(n)) for n in range(1, 9)))
        until(lambda: any(each.data == b"ok" for each in delivery.read("out")), "the other partition goes on", 60)
        assert delivery.metric("headrace_dispatcher_dead_letter_failures_total") >= 1
        assert delivery.read("in.dead-letters") == []
        assert delivery.done() < 9
        limit_dead_letters(delivery.kafka, 100_000)
        delivery.until_done(9)
        assert [letter.id for letter in delivery.read("in.dead-letters")] == ["0"]
        assert delivery.receiver.ids.count("0") == 1
