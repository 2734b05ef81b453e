"""kafka-python's errors in Headrace's words."""

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
from headrace.eventing.kafka.tls import handshake_trouble

if TYPE_CHECKING:
    from headrace.errors import HeadraceError
    from headrace.eventing.kafka.settings import KafkaSettings

TOO_LARGE_HINT = "raise max.message.bytes of the topic, or send smaller data"
FENCED_HINT = "another process has this name; give each dispatcher its own POD_NAME"
STORAGE_HINT = "make room on the broker's disk"
LOGIN_HINT = "check the user and password, or the token, and the mechanism that this listener takes"
UNAVAILABLE_HINT = "is the broker running, and is this its address?"
_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
_MISCONFIGURED = (errors.AuthorizationError, errors.InvalidTopicError, errors.KafkaConfigurationError)
_LOGIN = (errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError, errors.IllegalSaslStateError)
_FENCED = (errors.ProducerFencedError, errors.InvalidProducerEpochError)


class NameTakenError(TakenOverError):
    """The group has another id under this member's name: another process's, or a newer one of this very member."""


def translate(fault: Exception, what: str, settings: KafkaSettings) -> HeadraceError:
    """The Headrace error that a kafka-python error is.

    Args:
        fault: What the client raised.
        what: What was tried, with its place, for the message.
        settings: Their secrets are masked in it.
    """
    detail = settings.redact(f"{what}: {type(fault).__name__}: {fault}")
    # A call after the one that failed says "a previous request has failed" and has the reason as its second argument:
    # a producer that was fenced between two sends must not look like one whose broker is away.
    fault = next((inner for inner in fault.args if isinstance(inner, errors.KafkaError)), fault)
    if isinstance(fault, _TOO_LARGE):
        return PayloadTooLargeError(detail, hint=TOO_LARGE_HINT)
    if isinstance(fault, errors.FencedInstanceIdError):
        return NameTakenError(detail, hint=FENCED_HINT)
    if isinstance(fault, _FENCED):
        return TakenOverError(detail, hint=FENCED_HINT)
    if isinstance(fault, errors.KafkaStorageError):
        return StorageFullError(detail, hint=STORAGE_HINT)
    if isinstance(fault, _LOGIN):
        return ConfigurationError(detail, hint=LOGIN_HINT)
    if isinstance(fault, _MISCONFIGURED):
        return ConfigurationError(detail)
    return unavailable(detail, settings)


def unavailable(detail: str, settings: KafkaSettings) -> HeadraceError:
    """No broker answers; where TLS is the reason, which clients keep to themselves, that."""
    trouble = handshake_trouble(settings)
    if trouble:
        return ConfigurationError(f"{detail}: {trouble}")
    return UnavailableError(detail, hint=UNAVAILABLE_HINT)
