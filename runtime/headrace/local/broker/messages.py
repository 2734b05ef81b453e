"""kafka-python's codecs of requests and responses, imported in one place; its ``kafka.protocol`` has all versions."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # kafka-python reads its schemas by a function that Python 3.11 and 3.12 deprecate; that is no news for our users,
    # and would stop those who turn warnings into errors.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.protocol import admin, consumer, metadata, producer, sasl
    from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

__all__ = ["ConsumerProtocolSubscription", "admin", "consumer", "metadata", "producer", "sasl"]
