"""TLS and logins as production has them, against Apache Kafka, by both drivers; and how refusals are told."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from headrace.eventing.event import new_event
from headrace.eventing.kafka.environment import kafka_settings
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics, group_progress
from headrace.eventing.log import Committed, OutgoingRecord, Partition

from .apache import PASSWORD, USER, unsigned_token
from .certificates import KEY_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from headrace.eventing.kafka.settings import KafkaSettings

    from .apache import ApacheKafka

CLIENT_SECRET = "cs-2e9a"
LOGINS = ["ssl", "plain", "scram-256", "scram-512", "token-file", "token-endpoint"]


class TokenEndpoint(BaseHTTPRequestHandler):
    """Gives a token to whoever knows the client's secret."""

    def do_POST(self) -> None:
        """Answer one request (RFC 6749 section 4.4)."""
        self.rfile.read(int(self.headers["content-length"]))
        known = self.headers["authorization"] == "Basic aGVhZHJhY2U6Y3MtMmU5YQ=="
        body = json.dumps({"access_token": unsigned_token(), "expires_in": 300} if known else {"error": "no"}).encode()
        self.send_response(200 if known else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The URL of a token endpoint."""
    with serving(TokenEndpoint) as url:
        yield f"{url}/token"


def environment(login: str, apache: ApacheKafka, endpoint: str, folder: Path) -> dict[str, str]:
    """The variables of a pod that logs in so."""
    pki = apache.certificates
    if login == "ssl":
        return {
            "KAFKA_BOOTSTRAP_SERVERS": apache.ssl,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_FILE": str(pki.ca),
            "KAFKA_SSL_CERTIFICATE_FILE": str(pki.client),
            "KAFKA_SSL_KEY_FILE": str(pki.encrypted_key),
            "KAFKA_SSL_KEY_PASSWORD": KEY_PASSWORD,
        }
    if login == "plain":
        given = {"KAFKA_BOOTSTRAP_SERVERS": apache.sasl_plaintext, "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
        return given | {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SECRET_DIR": str(folder)}
    secured = {"KAFKA_BOOTSTRAP_SERVERS": apache.sasl_ssl, "KAFKA_SECRET_DIR": str(folder)}
    if login.startswith("scram"):
        return secured | {"KAFKA_SASL_MECHANISM": f"SCRAM-SHA-{login[-3:]}"}
    secured["KAFKA_SASL_MECHANISM"] = "OAUTHBEARER"
    if login == "token-file":
        (folder / "token").write_text(unsigned_token() + "\n")
        return secured | {"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE": str(folder / "token")}
    return secured | {
        "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": endpoint,
        "KAFKA_SASL_OAUTHBEARER_CLIENT_ID": "headrace",
        "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": CLIENT_SECRET,
    }


@pytest.fixture
def secret(apache: ApacheKafka, tmp_path: Path) -> Path:
    """A mounted Secret with Knative's keys."""
    folder = tmp_path / "secret"
    folder.mkdir()
    keys = {"protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "user": USER, "password": PASSWORD}
    for key, value in (keys | {"ca.crt": apache.certificates.ca.read_text()}).items():
        (folder / key).write_text(value)
    return folder


class Model(BaseHTTPRequestHandler):
    """Ready, and answers every event."""

    def do_GET(self) -> None:
        """Be ready."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answer an event."""
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(b"seen")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server with this handler."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Listener:
    """Remembers nothing."""

    def assigned(self, committed: Mapping[Partition, Committed | None]) -> None:
        """Nothing."""

    async def revoked(self, partitions: AbstractSet[Partition]) -> None:
        """Nothing."""

    def lost(self, partitions: AbstractSet[Partition]) -> None:
        """Nothing."""


@pytest.mark.parametrize("login", LOGINS)
def test_every_login_publishes_reads_and_commits(  # noqa: PLR0917  # fixtures
    login: str, driver: str, apache: ApacheKafka, endpoint: str, secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Topics, events, groups and transactions work by each; and no log tells a secret, not at the finest level."""
    caplog.set_level(logging.DEBUG)
    settings = kafka_settings(environment(login, apache, endpoint, secret) | {"HEADRACE_KAFKA_DRIVER": driver})
    unique = uuid.uuid4().hex[:8]
    topic, group = f"in-{unique}", f"group-{unique}"
    create_topics(settings, [TopicSpec(topic), TopicSpec(f"out-{unique}")])
    with Publisher(settings) as publisher:
        publisher.publish(topic, [new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"x")])
    asyncio.run(answered(settings, topic, group, f"out-{unique}"))
    assert [record.value for record in read_topic(settings, f"out-{unique}") if record] == [b"answer"]
    assert group_progress(settings, group, [Partition(topic, 0)]) == {Partition(topic, 0): Committed(1, "")}
    assert not [word for word in (PASSWORD, KEY_PASSWORD, CLIENT_SECRET, "eyJ") if word in caplog.text]


async def answered(settings: KafkaSettings, topic: str, group: str, results: str) -> None:
    """Read one record as a member of a group, and commit it with an answer."""
    member = KafkaMember(settings, topic=topic, group=group, drain=2.0)
    await member.start(Listener())

    async def polling() -> None:
        while not await member.poll(10):
            pass

    await asyncio.wait_for(polling(), 60)
    await member.commit([OutgoingRecord(results, None, b"answer")], {Partition(topic, 0): Committed(1)})
    await member.close()


_REFUSED = """
import json, sys
from headrace.errors import HeadraceError
from headrace.eventing.kafka.environment import kafka_settings
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import topic_names

def told(act, environ):
    try:
        act(kafka_settings(environ))
    except HeadraceError as fault:
        return [fault.code, str(fault)]
    return ["none", ""]

acts = {"publish": lambda s: Publisher(s).__exit__(None, None, None), "read": lambda s: list(read_topic(s, "t")),
        "administer": topic_names}
for name, environ in json.load(sys.stdin).items():
    for act in acts:
        print(json.dumps([name, act, *told(acts[act], environ)]), flush=True)
"""


def test_refusals_name_the_reason_and_no_secret(
    driver: str, apache: ApacheKafka, endpoint: str, secret: Path, tmp_path: Path
) -> None:
    """A wrong password, an unknown authority, a missing client certificate, an expired token: each says what to do."""
    cases = refused_cases(apache, endpoint, secret, tmp_path)
    environs = {name: environ | {"HEADRACE_KAFKA_DRIVER": driver} for name, (environ, _) in cases.items()}
    # In a process of its own: kafka-python 3.0 leaves sockets of refused connections open.
    run = subprocess.run(
        [sys.executable, "-c", _REFUSED], input=json.dumps(environs), capture_output=True, text=True, check=True
    )
    outcomes = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(outcomes) == 3 * len(cases)
    for name, act, code, told in outcomes:
        assert code == "configuration", (name, act, code, told)
        assert any(words in told for words in cases[name][1]), (name, act, told)
    for word in (PASSWORD, "wrong-pw", KEY_PASSWORD, CLIENT_SECRET, "wrong-cs"):
        assert word not in run.stdout + run.stderr
    assert "eyJ" not in run.stdout + run.stderr, "no token"


def refused_cases(
    apache: ApacheKafka, endpoint: str, secret: Path, tmp_path: Path
) -> dict[str, tuple[dict[str, str], tuple[str, ...]]]:
    """By name: an environment that is refused, and words of which one is in what is told."""
    from .certificates import make_certificates  # noqa: PLC0415  # another authority, for this test alone

    stranger = make_certificates(tmp_path / "stranger")
    ssl, scram, plain, token, asked = (
        environment(login, apache, endpoint, secret)
        for login in ("ssl", "scram-512", "plain", "token-file", "token-endpoint")
    )
    (tmp_path / "expired").write_text(unsigned_token(-60))
    bare = {key: ssl[key] for key in ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_SSL_CA_FILE")}
    wrong = {"KAFKA_SASL_PASSWORD": "wrong-pw"}
    login = ("check the user and password, or the token",)
    return {
        "wrong password, SCRAM": (scram | wrong, login),
        "wrong password, PLAIN": (plain | wrong, login),
        "unknown authority": (ssl | {"KAFKA_SSL_CA_FILE": str(stranger.ca)}, ("certificate is not trusted",)),
        "no client certificate": (bare, ("TLS handshake fails",)),
        "expired token": (token | {"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE": str(tmp_path / "expired")}, ("is over since",)),
        "refused by the token endpoint": (
            asked | {"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": "wrong-cs"},
            ("refuses the client: HTTP 401",),
        ),
    }


_APP = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {{name: app}}
spec:
  predictor: {{class: "my.models:Model"}}
  trigger: {{topic: {topic}}}
  results: {{topic: {topic}.out}}
"""


def test_the_commands_log_in_by_the_mounted_secret(
    driver: str, apache: ApacheKafka, secret: Path, tmp_path: Path
) -> None:
    """What a pod has, an address and a Secret, is all that publish, dispatch and results need; none tells a secret."""
    topic = f"in-{uuid.uuid4().hex[:8]}"
    variables = {"KAFKA_BOOTSTRAP_SERVERS": apache.sasl_ssl, "KAFKA_SECRET_DIR": str(secret)}
    settings = kafka_settings(variables)
    create_topics(settings, [TopicSpec(name) for name in (topic, f"{topic}.out", f"{topic}.dead-letters")])
    (tmp_path / "app.yaml").write_text(_APP.format(topic=topic))
    (tmp_path / "event.txt").write_text("hello")
    around = os.environ | variables | {"HEADRACE_KAFKA_DRIVER": driver, "HEADRACE_HOME": str(tmp_path), "POD_NAME": "p"}
    command = [sys.executable, "-m", "headrace.cli.main"]

    def told(*words: str) -> str:
        run = subprocess.run([*command, *words], env=around, capture_output=True, text=True, timeout=100, check=True)
        return run.stdout + run.stderr

    log = tmp_path / "log"
    with serving(Model) as model, log.open("w") as output:
        words = ["dispatch", "-f", str(tmp_path / "app.yaml"), "--app", "app", "--sink", model]
        dispatcher = subprocess.Popen([*command, *words], env=around, stdout=output, stderr=output)
        try:
            published = told("publish", "--topic", topic, str(tmp_path / "event.txt"))
            answer = next(record for record in read_topic(settings, f"{topic}.out", follow=True) if record)
        finally:
            dispatcher.terminate()
            assert dispatcher.wait(60) == 0, log.read_text()
    assert answer.value == b"seen"
    results = told("results", "--topic", f"{topic}.out", "--output", "json")
    assert "c2Vlbg==" in results, "base64 of the answer"
    assert PASSWORD not in published + results + log.read_text()
