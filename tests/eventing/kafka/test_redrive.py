"""Sending letters back, over the embedded broker and Apache Kafka."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from kafka import KafkaProducer

from headrace.errors import TakenOverError
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.deadletter import Failure, dead_letter
from headrace.eventing.deadletters.handling import Order, Summary, handle
from headrace.eventing.event import new_event
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.eventing.log import Partition, Record

if TYPE_CHECKING:
    from headrace.eventing.kafka.settings import KafkaSettings


def test_two_runs_at_once_send_each_letter_once(kafka: KafkaSettings) -> None:
    """The later run ends the earlier one and goes on from its marks; a third finds nothing."""
    topic = f"in-{uuid.uuid4().hex[:8]}"
    letters = f"{topic}.dead-letters"
    create_topics(kafka, [TopicSpec(topic, 2), TopicSpec(letters, 1)])
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for number in range(250):
        event = new_event({"specversion": "1.0", "id": f"e{number}", "source": "/s", "type": "t"}, b"1")
        record = Record(Partition(topic, 0), number, 1, None, b"1")
        letter = dead_letter(record, event, Failure("exhausted", "no"), topic=letters, trace={})
        producer.send(letter.topic, letter.value, key=letter.key, headers=list(letter.headers))
    producer.close(timeout=30)
    others: list[Summary] = []

    def overtake(_summary: Summary, _total: int) -> None:
        if not others:
            others.append(handle(kafka, Order(letters)))

    with pytest.raises(TakenOverError, match="another run on these letters"):
        handle(kafka, Order(letters), progress=overtake)
    assert (others[0].done, others[0].already) == (150, 100)
    assert handle(kafka, Order(letters)).done == 0
    sent = [read_record(record, namespace="", name="").id for record in read_topic(kafka, topic) if record]
    assert sorted(sent) == sorted(f"e{number}" for number in range(250))
