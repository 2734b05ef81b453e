"""librdkafka's errors in Headrace's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import confluent_kafka as ck

from headrace.errors import ConfigurationError, PayloadTooLargeError, StorageFullError, TakenOverError
from headrace.eventing.kafka import faults

if TYPE_CHECKING:
    from headrace.errors import HeadraceError
    from headrace.eventing.kafka.settings import KafkaSettings

_CODE = ck.KafkaError
_TOO_LARGE = {_CODE.MSG_SIZE_TOO_LARGE, _CODE.RECORD_LIST_TOO_LARGE}
_FENCED = {_CODE._FENCED, _CODE.PRODUCER_FENCED, _CODE.INVALID_PRODUCER_EPOCH}  # noqa: SLF001  # how librdkafka names its own codes
_LOGIN = {
    _CODE._AUTHENTICATION,  # noqa: SLF001  # the same
    _CODE.SASL_AUTHENTICATION_FAILED,
    _CODE.UNSUPPORTED_SASL_MECHANISM,
    _CODE.ILLEGAL_SASL_STATE,
}
_MISCONFIGURED = {
    _CODE.TOPIC_AUTHORIZATION_FAILED,
    _CODE.GROUP_AUTHORIZATION_FAILED,
    _CODE.CLUSTER_AUTHORIZATION_FAILED,
    _CODE.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    _CODE.TOPIC_EXCEPTION,
    _CODE._INVALID_ARG,  # noqa: SLF001  # the same
}
END = _CODE._PARTITION_EOF  # noqa: SLF001  # the same
"""Not an error: the end of a partition is reached."""
_TIMED_OUT = _CODE._TIMED_OUT  # noqa: SLF001  # the same


def timed_out(what: str) -> Exception:
    """The error of librdkafka's that says so."""
    fault: Exception = ck.KafkaException(ck.KafkaError(_TIMED_OUT, what))
    return fault


def is_login(error: Any) -> bool:
    """Whether a broker refuses who this client says it is."""
    return error.code() in _LOGIN


def translate(error: Any, what: str, settings: KafkaSettings) -> HeadraceError:
    """The Headrace error that a librdkafka error is.

    Args:
        error: A ``confluent_kafka.KafkaError``.
        what: What was tried, with its place, for the message.
        settings: Their secrets are masked in it.
    """
    detail = settings.redact(f"{what}: {error.name()}: {error.str()}")
    code = error.code()
    if code in _TOO_LARGE:
        return PayloadTooLargeError(detail, hint=faults.TOO_LARGE_HINT)
    if code == _CODE.FENCED_INSTANCE_ID:
        return faults.NameTakenError(detail, hint=faults.FENCED_HINT)
    if code in _FENCED:
        return TakenOverError(detail, hint=faults.FENCED_HINT)
    if code == _CODE.KAFKA_STORAGE_ERROR:
        return StorageFullError(detail, hint=faults.STORAGE_HINT)
    if code in _LOGIN:
        return ConfigurationError(detail, hint=faults.LOGIN_HINT)
    if code in _MISCONFIGURED:
        return ConfigurationError(detail)
    return faults.unavailable(detail, settings)
