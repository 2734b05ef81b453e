"""kafka-python's errors in Headrace's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka import errors

from headrace.eventing.kafka import meanings

if TYPE_CHECKING:
    from headrace.errors import HeadraceError
    from headrace.eventing.kafka.settings import KafkaSettings

_MEANINGS: dict[type[errors.KafkaError], meanings.Meaning] = {
    errors.MessageSizeTooLargeError: meanings.TOO_LARGE,
    errors.RecordListTooLargeError: meanings.TOO_LARGE,
    errors.FencedInstanceIdError: meanings.NAME_TAKEN,
    errors.ProducerFencedError: meanings.FENCED,
    errors.InvalidProducerEpochError: meanings.FENCED,
    errors.CommitFailedError: meanings.EXPELLED,
    errors.UnknownMemberIdError: meanings.EXPELLED,
    errors.IllegalGenerationError: meanings.EXPELLED,
    errors.KafkaStorageError: meanings.STORAGE_FULL,
    errors.SaslAuthenticationFailedError: meanings.LOGIN_REFUSED,
    errors.UnsupportedSaslMechanismError: meanings.LOGIN_REFUSED,
    errors.IllegalSaslStateError: meanings.LOGIN_REFUSED,
    errors.AuthorizationError: meanings.MISCONFIGURED,
    errors.InvalidTopicError: meanings.MISCONFIGURED,
    errors.KafkaConfigurationError: meanings.MISCONFIGURED,
}
"""By class, and for its subclasses; the first that fits."""


def translate(fault: Exception, what: str, settings: KafkaSettings) -> HeadraceError:
    """The Headrace error that a kafka-python error is.

    Args:
        fault: What the client raised.
        what: What was tried, with its place, for the message.
        settings: Their secrets are masked in it.
    """
    detail = f"{what}: {type(fault).__name__}: {fault}"
    # A call after the one that failed says "a previous request has failed" and has the reason as its second argument:
    # a producer that was fenced between two sends must not look like one whose broker is away.
    reason = next((inner for inner in fault.args if isinstance(inner, errors.KafkaError)), fault)
    meaning = next((found for kind, found in _MEANINGS.items() if isinstance(reason, kind)), None)
    return meanings.error_of(meaning, detail, settings)
