"""A Kafka broker for the laptop: one node, durable on disk, in pure Python on kafka-python's protocol codecs.

Belongs here: the log, groups, transactions, and the requests that reach them. Does not belong here: replication,
security, retention and compaction (topic configs are stored, not acted on; DeleteRecords and the deletion of a topic
are the only ways to remove records). For those, name a real Kafka with ``--kafka``.
"""

from headrace.local.broker.server import EmbeddedBroker, run
from headrace.local.broker.settings import BrokerSettings

__all__ = ["BrokerSettings", "EmbeddedBroker", "run"]
