"""The driver itself: consumers and producers with the options that were asked for."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import confluent_kafka as ck

from headrace.eventing.kafka.confluent.connection import Heard, LoginError, connect, connection
from headrace.eventing.kafka.confluent.consumer import ConfluentConsumer
from headrace.eventing.kafka.confluent.producer import ConfluentProducer
from headrace.eventing.kafka.confluent.words import translate
from headrace.eventing.kafka.driver import METADATA_AGE, MOST_RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.eventing.kafka.driver import ConsumerOptions, ProducerOptions
    from headrace.eventing.kafka.settings import KafkaSettings

_log = logging.getLogger("librdkafka")
"""Its lines; what matters of them is raised as well, so a program may silence it."""
LINGER = 1
"""Milliseconds for which records gather into a batch."""
BATCH = 16 * 1024
"""Bytes of a batch; a larger record has one of its own. librdkafka fails all of a batch that is over the topic's limit,
where kafka-python splits it: so its default of a megabyte would fail small records with a large one.
This is the default of all others."""


class Confluent:
    """The driver; see :class:`headrace.eventing.kafka.driver.Driver`."""

    def __init__(self) -> None:
        # Where a program has set up no logging, Python prints a library's errors to a person who is told them anyway.
        if not _log.handlers:
            _log.addHandler(logging.NullHandler())

    def consumer(self, settings: KafkaSettings, options: ConsumerOptions) -> ConfluentConsumer:
        """A consumer."""
        heard = Heard()
        config = {
            **connection(settings, heard, options.client_id),
            # librdkafka wants a group even of a consumer that is told its partitions.
            "group.id": options.group or "headrace-read",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "enable.partition.eof": True,  # its position says where the end is, behind the markers of transactions
            "topic.metadata.refresh.interval.ms": _ms(METADATA_AGE),
            "fetch.wait.max.ms": _ms(options.wait),
        }
        if options.group:
            config |= {
                "session.timeout.ms": _ms(options.session),
                "heartbeat.interval.ms": _ms(options.heartbeat),
                "partition.assignment.strategy": "cooperative-sticky",
            }
        if options.name:
            config["group.instance.id"] = options.name
        consumer = ck.Consumer(config, logger=_log)
        connect(consumer, heard, options.connect)
        return ConfluentConsumer(consumer, heard)

    def producer(self, settings: KafkaSettings, options: ProducerOptions) -> ConfluentProducer:
        """A producer."""
        heard = Heard()
        config = {
            **connection(settings, heard, options.client_id),
            "enable.idempotence": True,
            # As Java and kafka-python hash keys, so that one key is in one partition whoever writes.
            "partitioner": "murmur2_random",
            "compression.type": settings.compression,
            "linger.ms": LINGER,
            "batch.size": BATCH,
            "message.max.bytes": MOST_RECORD_BYTES,
            "request.timeout.ms": _ms(options.request),
            "message.timeout.ms": _ms(options.delivery),
        }
        if options.transactional_id:
            config |= {
                "transactional.id": options.transactional_id,
                "message.timeout.ms": _ms(min(options.delivery, options.transaction)),  # else librdkafka refuses it
                "transaction.timeout.ms": _ms(options.transaction),
            }
        producer = ck.Producer(config, logger=_log)
        connect(producer, heard, options.connect)
        return ConfluentProducer(producer, heard, options.block)

    @contextmanager
    def faults(self, what: str, settings: KafkaSettings) -> Iterator[None]:
        """Inside, librdkafka's errors become Headrace's."""
        try:
            yield
        except ck.KafkaException as fault:
            raise translate(fault.args[0], what, settings) from fault
        except LoginError as fault:
            raise fault.inner from None


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
