"""Connections of librdkafka: settings in its words, the first answer of a broker, and what it says aside."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck

from headrace.errors import HeadraceError
from headrace.eventing.kafka.confluent.words import is_handshake, is_login
from headrace.eventing.kafka.oauth import TokenSource

if TYPE_CHECKING:
    from headrace.eventing.kafka.settings import KafkaSettings

_log = logging.getLogger(__name__)
CONNECT_STEP = 0.3
"""Seconds after which a first connection is looked at: whether the login was refused."""
_ANY_TOPIC = "__consumer_offsets"
"""Asked for to see whether a broker answers: one topic costs a large cluster less than all; every cluster has it."""


class LoginError(Exception):
    """What the token source raised, brought from a callback to the caller."""

    def __init__(self, inner: HeadraceError) -> None:
        super().__init__(str(inner))
        self.inner = inner


class Heard:
    """What librdkafka said aside: the reason of a failed login comes by a callback alone."""

    def __init__(self) -> None:
        self._fault: Exception | None = None
        self._handshake: Exception | None = None

    def error(self, error: Any) -> None:
        """Take librdkafka's ``error_cb``."""
        if is_login(error) or error.fatal():
            self._fault = ck.KafkaException(error)
        elif is_handshake(error):
            self._handshake = ck.KafkaException(error)
        else:
            _log.debug("librdkafka: %s", error.name())  # it reconnects by itself

    def token(self, source: TokenSource) -> tuple[str, float]:
        """Answer librdkafka's ``oauth_cb``."""
        try:
            token = source.token()
        except HeadraceError as fault:
            self._fault = LoginError(fault)
            raise
        return token.value, token.expires

    def check(self) -> None:
        """Raise what was heard since the last time."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def check_first(self) -> None:
        """The same for a first connection, of which a TLS handshake that fails is the end, and no passing trouble."""
        self.check()
        if self._handshake is not None:
            raise self._handshake


def connection(settings: KafkaSettings, heard: Heard, client_id: str) -> dict[str, Any]:
    """The settings in librdkafka's words, for every client of its."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap,
        "security.protocol": settings.protocol,
        "client.id": client_id,
        "error_cb": heard.error,
    }
    if settings.tls:
        files = {"ssl.ca.location": settings.ca, "ssl.certificate.location": settings.certificate}
        files["ssl.key.location"] = settings.key
        config |= {name: str(path) for name, path in files.items() if path}
        if settings.key_password:
            config["ssl.key.password"] = settings.key_password
    if settings.sasl:
        config["sasl.mechanism"] = settings.mechanism
        if settings.oauth:
            source = TokenSource(settings.oauth)
            source.token()  # a client without one waits ten seconds for it, and then does not say why there is none
            config["oauth_cb"] = lambda _: heard.token(source)
        else:
            config |= {"sasl.username": settings.user, "sasl.password": settings.password}
    return config


def connect(client: Any, heard: Heard, seconds: float) -> None:
    """Wait for the first connection: librdkafka itself would go on trying for ever, whatever the reason."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.list_topics(_ANY_TOPIC, CONNECT_STEP)
        except ck.KafkaException:
            client.poll(0)  # brings what was heard
            heard.check_first()
            if time.monotonic() >= deadline:
                raise
        else:
            return
