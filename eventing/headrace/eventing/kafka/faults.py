"""Kafka's errors in Headrace's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka import errors

from headrace.errors import (
    ConfigurationError,
    PayloadTooLargeError,
    StorageFullError,
    TakenOverError,
    UnavailableError,
)

if TYPE_CHECKING:
    from headrace.errors import HeadraceError

_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
_MISCONFIGURED = (errors.AuthorizationError, errors.InvalidTopicError, errors.KafkaConfigurationError)
_FENCED = (errors.ProducerFencedError, errors.InvalidProducerEpochError, errors.FencedInstanceIdError)


def translate(fault: Exception, what: str) -> HeadraceError:
    """The Headrace error that a Kafka client's error is.

    Args:
        fault: What the client raised.
        what: What was tried, with its place, for the message.
    """
    detail = f"{what}: {type(fault).__name__}: {fault}"
    # A call after the one that failed says "a previous request has failed" and has the reason as its second argument:
    # a producer that was fenced between two sends must not look like one whose broker is away.
    fault = next((inner for inner in fault.args if isinstance(inner, errors.KafkaError)), fault)
    if isinstance(fault, _TOO_LARGE):
        return PayloadTooLargeError(detail, hint="raise max.message.bytes of the topic, or send smaller data")
    if isinstance(fault, _FENCED):
        return TakenOverError(detail, hint="another process has this name; give each dispatcher its own POD_NAME")
    if isinstance(fault, errors.KafkaStorageError):
        return StorageFullError(detail, hint="make room on the broker's disk")
    if isinstance(fault, _MISCONFIGURED):
        return ConfigurationError(detail)
    return UnavailableError(detail, hint="is the broker running, and is this its address?")
