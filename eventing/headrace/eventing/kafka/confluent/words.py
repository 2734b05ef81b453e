"""librdkafka's errors in Headrace's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import confluent_kafka as ck

from headrace.eventing.kafka import meanings

if TYPE_CHECKING:
    from headrace.errors import HeadraceError
    from headrace.eventing.kafka.settings import KafkaSettings

_CODE = ck.KafkaError
# Codes of librdkafka's own begin with an underscore.
_MEANINGS: dict[int, meanings.Meaning] = {
    _CODE.MSG_SIZE_TOO_LARGE: meanings.TOO_LARGE,
    _CODE.RECORD_LIST_TOO_LARGE: meanings.TOO_LARGE,
    _CODE.FENCED_INSTANCE_ID: meanings.NAME_TAKEN,
    _CODE._FENCED: meanings.FENCED,  # noqa: SLF001  # how librdkafka names it
    _CODE.PRODUCER_FENCED: meanings.FENCED,
    _CODE.INVALID_PRODUCER_EPOCH: meanings.FENCED,
    _CODE.KAFKA_STORAGE_ERROR: meanings.STORAGE_FULL,
    _CODE._AUTHENTICATION: meanings.LOGIN_REFUSED,  # noqa: SLF001  # the same
    _CODE.SASL_AUTHENTICATION_FAILED: meanings.LOGIN_REFUSED,
    _CODE.UNSUPPORTED_SASL_MECHANISM: meanings.LOGIN_REFUSED,
    _CODE.ILLEGAL_SASL_STATE: meanings.LOGIN_REFUSED,
    _CODE.TOPIC_AUTHORIZATION_FAILED: meanings.MISCONFIGURED,
    _CODE.GROUP_AUTHORIZATION_FAILED: meanings.MISCONFIGURED,
    _CODE.CLUSTER_AUTHORIZATION_FAILED: meanings.MISCONFIGURED,
    _CODE.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: meanings.MISCONFIGURED,
    _CODE.TOPIC_EXCEPTION: meanings.MISCONFIGURED,
    _CODE._INVALID_ARG: meanings.MISCONFIGURED,  # noqa: SLF001  # the same
}
END = _CODE._PARTITION_EOF  # noqa: SLF001  # the same
"""Not an error: the end of a partition is reached."""
FATAL = _CODE._FATAL  # noqa: SLF001  # the same
"""An earlier call has failed for good; what it failed of is told by a poll, once."""
_SSL = _CODE._SSL  # noqa: SLF001  # the same
_TIMED_OUT = _CODE._TIMED_OUT  # noqa: SLF001  # the same


def timed_out(what: str) -> Exception:
    """The error of librdkafka's that says so."""
    fault: Exception = ck.KafkaException(ck.KafkaError(_TIMED_OUT, what))
    return fault


def is_login(error: Any) -> bool:
    """Whether a broker refuses who this client says it is."""
    return _MEANINGS.get(error.code()) is meanings.LOGIN_REFUSED


def is_handshake(error: Any) -> bool:
    """Whether TLS with a broker does not come about."""
    return bool(error.code() == _SSL)


def translate(error: Any, what: str, settings: KafkaSettings) -> HeadraceError:
    """The Headrace error that a librdkafka error is.

    Args:
        error: A ``confluent_kafka.KafkaError``.
        what: What was tried, with its place, for the message.
        settings: Their secrets are masked in it.
    """
    return meanings.error_of(_MEANINGS.get(error.code()), f"{what}: {error.name()}: {error.str()}", settings)
