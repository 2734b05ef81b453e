"""FastStream with the model in its own process.

``python -m benchmarks.eventing.faststream_app KAFKA TOPIC RESULTS MODEL``. At least once, as FastStream's
documentation has it: each message is acknowledged once its handler is done.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from benchmarks.eventing.models import in_process
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage, KafkaResponse


def application(kafka: str, topic: str, results: str, name: str) -> FastStream:
    """A subscriber that asks the model and publishes what it says, with the event's key."""
    broker = KafkaBroker(kafka, logger=None)
    answer = in_process(name)

    async def handle(event: dict[str, Any], message: KafkaMessage) -> Any:
        return KafkaResponse(await answer(event), key=message.raw_message.key)

    handler = broker.subscriber(
        topic, group_id=f"{topic}.faststream", auto_offset_reset="earliest", ack_policy=AckPolicy.ACK
    )(handle)
    broker.publisher(results)(handler)
    return FastStream(broker, logger=None)


if __name__ == "__main__":
    asyncio.run(application(*sys.argv[1:]).run())
