"""Who a client is, by SASL: PLAIN (RFC 4616), SCRAM (RFC 5802, RFC 7677) and OAUTHBEARER (RFC 7628).

For tests of clients on one machine: passwords are held in memory as they were given.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Protocol

from headrace.local.broker.codes import Code, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.local.broker.settings import BrokerSettings

_ITERATIONS = 4096
"""The least that RFC 7677 allows: this guards nothing but tests."""
_SHA = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_PLAIN_PARTS = 3
_GS2_PARTS = 3


class Exchange(Protocol):
    """One authentication; each mechanism is one."""

    user: str
    """Who it is; empty until that is proven."""

    def step(self, message: bytes) -> bytes:
        """Answer a message of the client.

        Raises:
            Refusal: the client is not who it says, or the message means nothing.
        """


class Plain(Exchange):
    """User and password in one message.

    Args:
        users: Password by user.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        self.user = ""

    def step(self, message: bytes) -> bytes:
        """See :class:`Exchange`."""
        parts = _text(message).split("\0")
        if len(parts) != _PLAIN_PARTS:
            raise _refused("A PLAIN message has an authorization id, a user and a password")
        _other, user, password = parts
        if not hmac.compare_digest(self._users.get(user, secrets.token_hex()).encode(), password.encode()):
            raise _refused("Invalid username or password")
        self.user = user
        return b""


class Scram(Exchange):
    """A proof of the password, in two messages, without the password.

    Args:
        users: Password by user.
        sha: Name of the hash, as :mod:`hashlib` has it.
    """

    def __init__(self, users: Mapping[str, str], sha: str) -> None:
        self._users = users
        self._sha = sha
        self._said = ""
        """The first messages of both, as the proof covers them."""
        self._nonce = self._channel = self._claimed = ""
        self._salted = b""
        self.user = ""

    def step(self, message: bytes) -> bytes:
        """See :class:`Exchange`."""
        text = _text(message)
        return (self._last(text) if self._said else self._first(text)).encode()

    def _first(self, text: str) -> str:
        parts = text.split(",", 2)
        if len(parts) != _GS2_PARTS or parts[0] not in {"n", "y"}:
            raise _refused("The first SCRAM message is wrong, or asks for channel binding")
        bare = parts[2]
        fields = _fields(bare)
        self._claimed = fields.get("n", "").replace("=2C", ",").replace("=3D", "=")
        self._nonce = fields.get("r", "") + secrets.token_urlsafe(18)
        self._channel = b64encode(f"{parts[0]},{parts[1]},".encode()).decode()
        salt = os.urandom(16)
        # Who is not known gets a salt as well, and fails at the end as with a wrong password.
        password = self._users.get(self._claimed, secrets.token_hex())
        self._salted = hashlib.pbkdf2_hmac(self._sha, password.encode(), salt, _ITERATIONS)
        answer = f"r={self._nonce},s={b64encode(salt).decode()},i={_ITERATIONS}"
        self._said = f"{bare},{answer}"
        return answer

    def _last(self, text: str) -> str:
        fields = _fields(text)
        unproven = text.rpartition(",p=")[0]
        if fields.get("r") != self._nonce or fields.get("c") != self._channel:
            raise _refused("The last SCRAM message does not belong to the first")
        said = f"{self._said},{unproven}".encode()
        key = self._hmac(self._salted, b"Client Key")
        signature = self._hmac(hashlib.new(self._sha, key).digest(), said)
        proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        if not hmac.compare_digest(b64encode(proof), fields.get("p", "").encode()):
            raise _refused("Invalid username or password")
        self.user = self._claimed
        return "v=" + b64encode(self._hmac(self._hmac(self._salted, b"Server Key"), said)).decode()

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, self._sha).digest()


class Bearer(Exchange):
    """A token that stands for a user.

    Args:
        tokens: User by token.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens
        self.user = ""

    def step(self, message: bytes) -> bytes:
        """See :class:`Exchange`."""
        given = next((one for one in _text(message).split("\1") if one.lower().startswith("auth=bearer ")), "")
        user = next((user for token, user in self._tokens.items() if _same(token, given[len("auth=bearer ") :])), "")
        if not user:
            raise _refused("Invalid bearer token")
        self.user = user
        return b""


class Session:
    """What one connection has shown of itself.

    Args:
        settings: The tables of users and tokens.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._exchange: Exchange | None = None
        self.user = ""
        """Who it is; empty before it has authenticated, and where nobody must."""
        self.is_refused = False
        """Whether it failed: its connection is closed after the answer."""

    @property
    def may_ask(self) -> bool:
        """Whether its requests are served."""
        return bool(self.user) or not self._settings.authenticates

    @property
    def mechanisms(self) -> list[str]:
        """What the broker offers."""
        return list(_offered(self._settings))

    def begin(self, mechanism: str) -> None:
        """Choose a mechanism.

        Raises:
            Refusal: it is not offered, or nobody authenticates here.
        """
        if not self._settings.authenticates:
            self.is_refused = True
            raise Refusal(Code.ILLEGAL_SASL_STATE, "This broker does not authenticate its clients")
        made = _offered(self._settings).get(mechanism)
        if made is None:
            self.is_refused = True
            raise Refusal(Code.UNSUPPORTED_SASL_MECHANISM, f"The broker does not offer {mechanism}")
        self._exchange = made()

    def authenticate(self, message: bytes) -> bytes:
        """Take the client's next message, and answer it.

        Raises:
            Refusal: the client is not who it says, or no mechanism was chosen.
        """
        # Until this message has been found good.
        self.is_refused = True
        if self._exchange is None:
            raise Refusal(Code.ILLEGAL_SASL_STATE, "SaslHandshake comes before SaslAuthenticate")
        answer = self._exchange.step(message)
        self.is_refused = False
        self.user = self._exchange.user
        if self.user:
            self._exchange = None
        return answer


def _offered(settings: BrokerSettings) -> dict[str, Callable[[], Exchange]]:
    offered: dict[str, Callable[[], Exchange]] = {}
    if settings.users:
        offered["PLAIN"] = partial(Plain, settings.users)
        offered.update((name, partial(Scram, settings.users, sha)) for name, sha in _SHA.items())
    if settings.tokens:
        offered["OAUTHBEARER"] = partial(Bearer, settings.tokens)
    return offered


def _refused(message: str) -> Refusal:
    return Refusal(Code.SASL_AUTHENTICATION_FAILED, f"Authentication failed: {message}")


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError as fault:
        raise _refused("the message is not UTF-8") from fault


def _fields(text: str) -> dict[str, str]:
    return {one[:1]: one[2:] for one in text.split(",") if one[1:2] == "="}


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
