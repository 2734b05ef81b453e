"""Tokens for OAUTHBEARER: how long one is used, and what is told where there is none."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import ConfigurationError, HeadraceError, UnavailableError
from headrace.eventing.kafka.oauth import RENEW_BEFORE, UNKNOWN_LIFE, TokenSource
from headrace.eventing.kafka.settings import OAuth

from .apache import unsigned_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "s/cret&1"


class Endpoint(BaseHTTPRequestHandler):
    """Answers what it was told to, and remembers what it was asked."""

    asked: list[tuple[str, str]]
    status: int
    body: bytes
    location: str

    def do_POST(self) -> None:
        """Answer one request."""
        kind = type(self)
        form = self.rfile.read(int(self.headers["content-length"])).decode()
        kind.asked.append((self.headers["authorization"], form))
        self.send_response(kind.status)
        self.send_header("location", kind.location)
        self.send_header("content-length", str(len(kind.body)))
        self.end_headers()
        self.wfile.write(kind.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[tuple[type[Endpoint], str]]:
    """A token endpoint and its URL."""
    good = b'{"access_token":"t1","expires_in":100}'
    kind = type("Answering", (Endpoint,), {"asked": [], "status": 200, "body": good, "location": ""})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kind, f"http://127.0.0.1:{server.server_address[1]}/token"
    server.shutdown()
    thread.join()
    server.server_close()


def client(url: str, scope: str | None = None) -> OAuth:
    """Client credentials for that endpoint."""
    return OAuth(endpoint=url, client_id="head race", client_secret=SECRET, scope=scope)


def test_a_token_is_asked_for_with_the_clients_credentials(endpoint: tuple[type[Endpoint], str]) -> None:
    """Id and secret are form-encoded before they are joined (RFC 6749 section 2.3.1); the scope goes along."""
    kind, url = endpoint
    assert TokenSource(client(url, "kafka")).token().value == "t1"
    # base64 of head+race:s%2Fcret%261
    assert kind.asked == [("Basic aGVhZCtyYWNlOnMlMkZjcmV0JTI2MQ==", "grant_type=client_credentials&scope=kafka")]


def test_a_token_is_used_until_shortly_before_its_end(endpoint: tuple[type[Endpoint], str]) -> None:
    """One question for many logins; the next is asked while the old token is still good."""
    kind, url = endpoint
    now = [1000.0]
    source = TokenSource(client(url), now=lambda: now[0])
    assert source.token().expires == 1100.0
    now[0] = 1099.0 - RENEW_BEFORE
    source.token()
    assert len(kind.asked) == 1
    now[0] = 1101.0 - RENEW_BEFORE
    source.token()
    assert len(kind.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (401, b"", ConfigurationError, "refuses the client: HTTP 401"),
        (400, b"", ConfigurationError, "refuses the client: HTTP 400"),
        (503, b"", UnavailableError, "answers HTTP 503"),
        (302, b"", UnavailableError, "answers HTTP 302"),
        (200, b"<html>", UnavailableError, "without an access_token"),
        (200, b"[]", UnavailableError, "without an access_token"),
        (200, b'{"access_token":"t","expires_in":"soon"}', UnavailableError, "without an access_token"),
    ],
)
def test_what_is_no_token_is_told_and_no_secret_with_it(
    endpoint: tuple[type[Endpoint], str], status: int, body: bytes, kind: type[HeadraceError], told: str
) -> None:
    """A refusal is the user's to mend, an outage passes; a redirect is not followed, it would take the secret along."""
    answering, url = endpoint
    answering.status, answering.body, answering.location = status, body, url
    with pytest.raises(kind, match=told) as refused:
        TokenSource(client(url)).token()
    assert SECRET not in str(refused.value)
    assert len(answering.asked) == 1


def test_an_endpoint_that_does_not_answer_is_unavailable(endpoint: tuple[type[Endpoint], str]) -> None:
    """The endpoint is named by its host alone."""
    _, url = endpoint
    free = url.rpartition(":")[0] + ":1/token?key=" + SECRET
    with pytest.raises(UnavailableError, match=r"token endpoint at 127\.0\.0\.1 does not answer") as refused:
        TokenSource(client(free)).token()
    assert SECRET not in str(refused.value)


def test_a_token_file_is_read_again_for_every_login(tmp_path: Path) -> None:
    """Whoever renews the file is heard; a JWT says when it ends, another token is used for a minute."""
    path = tmp_path / "token"
    path.write_text("first\n")
    source = TokenSource(OAuth(token_file=path), now=lambda: 5.0)
    assert source.token() == ("first", 5.0 + UNKNOWN_LIFE)
    jwt = unsigned_token(300)
    path.write_text(jwt)
    assert source.token().value == jwt
    assert 250 < source.token().expires - time.time() < 350
    assert jwt not in repr(source.token())


def test_a_token_file_without_a_good_token_is_named(tmp_path: Path) -> None:
    """Missing, empty, not text, or over: each by the file's name, none by what is in it."""
    path = tmp_path / "token"
    for content, told in ((None, "cannot be read"), (b" \n", "is empty"), (b"\xff", "cannot be read")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=told):
            TokenSource(OAuth(token_file=path)).token()
    path.write_text(unsigned_token(-60))
    with pytest.raises(ConfigurationError, match="is over since") as refused:
        TokenSource(OAuth(token_file=path)).token()
    assert "eyJ" not in str(refused.value)
