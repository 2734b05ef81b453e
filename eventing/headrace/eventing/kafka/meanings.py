"""What a broker's refusals mean to Headrace, whichever client library brings them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


class NameTakenError(TakenOverError):
    """The group has another id under this member's name: another process's, or a newer one of this very member."""


class ExpelledError(UnavailableError):
    """The group does not know this member any more, or not in the generation that it has: it has to join anew."""


class Meaning(NamedTuple):
    """A kind of refusal."""

    kind: type[HeadraceError]
    hint: str = ""


_NAME_HINT = "another process has this name; give each dispatcher its own POD_NAME"
TOO_LARGE = Meaning(PayloadTooLargeError, "raise max.message.bytes of the topic, or send smaller data")
NAME_TAKEN = Meaning(NameTakenError, _NAME_HINT)
FENCED = Meaning(
    TakenOverError,
    f"{_NAME_HINT}; or this one stood still for longer than a transaction may: started anew, it goes on where it was",
)
EXPELLED = Meaning(ExpelledError, "it joins its group anew")
STORAGE_FULL = Meaning(StorageFullError, "make room on the broker's disk")
LOGIN_REFUSED = Meaning(
    ConfigurationError, "check the user and password, or the token, and the mechanism that this listener takes"
)
MISCONFIGURED = Meaning(ConfigurationError)


def error_of(meaning: Meaning | None, detail: str, settings: KafkaSettings) -> HeadraceError:
    """The error to raise.

    Args:
        meaning: None where no broker answers; where TLS is the reason, which clients keep to themselves, it says so.
        detail: The message.
        settings: Their secrets are masked in it.
    """
    detail = settings.redact(detail)
    if meaning:
        return meaning.kind(detail, hint=meaning.hint)
    if trouble := handshake_trouble(settings):
        return ConfigurationError(f"{detail}: {trouble}")
    return UnavailableError(
        detail, hint=f"is it running, is this its address, and {settings.protocol} what it speaks there?"
    )
