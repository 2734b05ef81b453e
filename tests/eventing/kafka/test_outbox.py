"""Events that may be lost but must hold nobody up."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

from headrace.eventing.event import new_event
from headrace.eventing.kafka.outbox import Outbox
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.settings import KafkaSettings
from headrace.eventing.kafka.topics import TopicSpec, create_topics

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent


def _event(number: int) -> CloudEvent:
    return new_event({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}, b"{}")


def test_what_is_put_in_is_written(embedded: str) -> None:
    """All of it, in order, before the outbox is closed."""
    topic = f"outbox-{uuid.uuid4().hex}"
    create_topics(embedded, [TopicSpec(topic, 1)])
    outbox = Outbox(KafkaSettings(embedded), topic)
    for start in range(0, 300, 100):
        outbox.put([_event(number) for number in range(start, start + 100)])
    outbox.close(30)
    found = [dict(record.headers)["ce_id"] for record in read_topic(embedded, topic) if record]
    assert found == [str(number).encode() for number in range(300)]
    assert (outbox.written, outbox.dropped) == (300, 0)


_UNREACHABLE = """
import time
from headrace.eventing.event import new_event
from headrace.eventing.kafka.outbox import Outbox
from headrace.eventing.kafka.settings import KafkaSettings
outbox = Outbox(KafkaSettings("127.0.0.1:1"), "t", most=10)
event = new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"})
began = time.monotonic()
for _ in range(1000):
    outbox.put([event])
took = time.monotonic() - began
outbox.close(1.0)
print(outbox.written, outbox.dropped, took < 5)
"""


def test_without_kafka_the_oldest_go_and_nobody_waits() -> None:
    """A broker that is not there costs the caller nothing; all that was put in is counted as dropped."""
    done = subprocess.run([sys.executable, "-c", _UNREACHABLE], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == ["0", "1000", "True"], done.stderr
