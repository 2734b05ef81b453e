"""Tokens for OAUTHBEARER: from a file, or from a token endpoint by client credentials (RFC 6749 section 4.4)."""

from __future__ import annotations

import base64
import binascii
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

import orjson

from headrace.errors import ConfigurationError, HeadraceError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.kafka.settings import OAuth

REQUEST_TIMEOUT = 10.0
"""Seconds for the endpoint's answer."""
RENEW_BEFORE = 30.0
"""Seconds before its end from which on a token is not used for a new login."""
UNKNOWN_LIFE = 60.0
"""Seconds for which a token that does not say its end is used."""


class Token(NamedTuple):
    """A bearer token; its value is in no ``repr``."""

    value: str
    expires: float
    """Seconds since the epoch."""

    def __repr__(self) -> str:
        return f"Token(expires={self.expires})"


class TokenSource:
    """Gives a token that is still good; safe from any thread, which it blocks while the endpoint is asked.

    Args:
        oauth: Where tokens come from.
        now: Seconds since the epoch.
    """

    def __init__(self, oauth: OAuth, now: Callable[[], float] = time.time) -> None:
        self._oauth = oauth
        self._now = now
        self._lock = threading.Lock()
        self._kept: Token | None = None

    def token(self) -> Token:
        """A token for a login.

        Raises:
            ConfigurationError: the file has none that is good, or the endpoint refuses the client.
            UnavailableError: the endpoint does not answer.
        """
        if self._oauth.token_file:
            return self._read()
        with self._lock:
            if self._kept is None or self._kept.expires - RENEW_BEFORE <= self._now():
                self._kept = self._ask()
            return self._kept

    def _read(self) -> Token:
        path = self._oauth.token_file
        assert path is not None
        try:
            value = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigurationError(f"The token file {path} cannot be read: {type(fault).__name__}") from None
        if not value:
            raise ConfigurationError(f"The token file {path} is empty")
        end = _end_of(value)
        if end is not None and end <= self._now():
            raise ConfigurationError(f"The token in {path} is over since {self._now() - end:.0f} s", hint="renew it")
        return Token(value, end or self._now() + UNKNOWN_LIFE)

    def _ask(self) -> Token:
        endpoint = self._oauth.endpoint
        assert endpoint is not None
        place = f"the token endpoint at {urllib.parse.urlsplit(endpoint).hostname}"
        request = urllib.request.Request(  # noqa: S310  # https, or http to this machine: the settings are checked
            endpoint, self._form(), {"Authorization": self._basic(), "Accept": "application/json"}
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=REQUEST_TIMEOUT) as answer:
                return self._parse(answer.read(), place)
        except urllib.error.HTTPError as fault:
            with fault:
                raise _refused(fault.code, place) from None
        except OSError as fault:
            raise UnavailableError(f"{place} does not answer: {type(fault).__name__}") from None

    def _form(self) -> bytes:
        form = {"grant_type": "client_credentials"}
        if self._oauth.scope:
            form["scope"] = self._oauth.scope
        return urllib.parse.urlencode(form).encode()

    def _basic(self) -> str:
        # Both are form-encoded before they are joined (RFC 6749 section 2.3.1).
        pair = (urllib.parse.quote_plus(part or "") for part in (self._oauth.client_id, self._oauth.client_secret))
        return "Basic " + base64.b64encode(":".join(pair).encode()).decode()

    def _parse(self, body: bytes, place: str) -> Token:
        try:
            answer = orjson.loads(body)
            value = answer["access_token"]
            life = float(answer.get("expires_in", UNKNOWN_LIFE))
        except (orjson.JSONDecodeError, TypeError, KeyError, ValueError, AttributeError):
            raise UnavailableError(f"{place} answers without an access_token") from None
        return Token(str(value), self._now() + life)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the client's secret to another place."""

    def redirect_request(self, *_: object) -> None:
        """No request."""


def _refused(status: int, place: str) -> HeadraceError:
    if status in (400, 401, 403):  # RFC 6749 section 5.2, and what proxies say
        return ConfigurationError(f"{place} refuses the client: HTTP {status}", hint="check its id, secret and scope")
    return UnavailableError(f"{place} answers HTTP {status}")


def _end_of(token: str) -> float | None:
    """When a JWT ends by its own word (RFC 7519 section 4.1.4); None where it does not say, or is no JWT."""
    try:
        part = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"])
    except (IndexError, binascii.Error, orjson.JSONDecodeError, TypeError, KeyError, ValueError):
        return None
