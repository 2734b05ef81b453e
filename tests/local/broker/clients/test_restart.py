"""Real clients outlive a restart of the broker: they find it on the same port and go on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import confluent_kafka
import pytest
from aiokafka import AIOKafkaConsumer

from headrace.testing.broker import BrokerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAIT = 30.0
READER = """
import sys, kafka
consumer = kafka.KafkaConsumer(
    "t", bootstrap_servers=sys.argv[1], group_id="g", auto_offset_reset="earliest", enable_auto_commit=False
)
for record in consumer:
    print(record.value.decode(), flush=True)
    if record.value == b"2":
        consumer.commit()
        print("committed", flush=True)
"""


@pytest.fixture
def broker(tmp_path: Path) -> BrokerProcess:
    """A broker that can be killed, not yet started."""
    return BrokerProcess(tmp_path)


def send(bootstrap: str, *values: bytes) -> None:
    """Produce to the topic ``t``."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for value in values:
        producer.produce("t", value)
    assert producer.flush(WAIT) == 0


def collect(poll: Callable[[], list[bytes]], count: int) -> list[bytes]:
    """Poll until there are ``count`` values."""
    got: list[bytes] = []
    deadline = time.monotonic() + WAIT
    while len(got) < count:
        assert time.monotonic() < deadline, got
        got += poll()
    return got


def test_a_kafka_python_consumer_goes_on(broker: BrokerProcess) -> None:
    """Committed before the kill, it reads what comes after it, and nothing twice.

    In a process of its own: kafka-python forgets the sockets of attempts that were refused.
    """
    with broker:
        send(broker.bootstrap, b"1", b"2")
        command = [sys.executable, "-c", READER, broker.bootstrap]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as reader:
            try:
                assert reader.stdout is not None
                assert [reader.stdout.readline() for _ in range(3)] == ["1\n", "2\n", "committed\n"]
                broker.kill()
                broker.restart()
                send(broker.bootstrap, b"3")
                assert reader.stdout.readline() == "3\n"
            finally:
                reader.kill()


def test_a_librdkafka_consumer_goes_on(broker: BrokerProcess) -> None:
    """The same with confluent-kafka."""
    with broker:
        send(broker.bootstrap, b"1", b"2")
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": broker.bootstrap,
                "group.id": "g",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        consumer.subscribe(["t"])

        def poll() -> list[bytes]:
            one = consumer.poll(0.2)
            value = one.value() if one is not None and one.error() is None else None
            return [] if value is None else [bytes(value)]

        assert collect(poll, 2) == [b"1", b"2"]
        consumer.commit(asynchronous=False)
        broker.kill()
        broker.restart()
        send(broker.bootstrap, b"3")
        assert collect(poll, 1) == [b"3"]
        consumer.close()


def test_an_aiokafka_consumer_goes_on(broker: BrokerProcess) -> None:
    """The same with aiokafka."""

    async def main() -> None:
        consumer = AIOKafkaConsumer(
            "t",
            bootstrap_servers=broker.bootstrap,
            group_id="g",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            retry_backoff_ms=50,
        )
        await consumer.start()
        got = [(await asyncio.wait_for(consumer.getone(), WAIT)).value for _ in range(2)]
        await consumer.commit()
        broker.kill()
        broker.restart()
        send(broker.bootstrap, b"3")
        got.append((await asyncio.wait_for(consumer.getone(), WAIT)).value)
        assert got == [b"1", b"2", b"3"]
        await consumer.stop()

    with broker:
        send(broker.bootstrap, b"1", b"2")
        asyncio.run(main())
