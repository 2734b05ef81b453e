"""A Kafka broker for the laptop: one node, durable on disk, in pure Python on kafka-python's protocol codecs.

Belongs here: the log with its retention and compaction, groups, transactions, TLS and SASL, and the requests that reach
them. Does not belong here: replication, access control, anything but loopback. For those, name a real Kafka with
``--kafka``. See docs/broker.md.
"""

from headrace.local.broker.server import EmbeddedBroker, run
from headrace.local.broker.settings import BrokerSettings, TlsSettings

__all__ = ["BrokerSettings", "EmbeddedBroker", "TlsSettings", "run"]
