"""TLS and SASL: three client libraries get in with what is right, and nobody with anything else."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import ipaddress
import socket
import ssl
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.helpers import create_ssl_context
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kafka.net.sasl.oauth import AbstractTokenProvider as KafkaTokenProvider

from headrace.errors import ConfigurationError
from headrace.local.broker import BrokerSettings, TlsSettings
from headrace.testing.broker import BrokerProcess, running_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 20.0
USERS = {"ann": "pencil, =and paper", "bob": "b"}
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


def issue(folder: Path, name: str, authority: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """A key and a certificate in PEM files; the authority signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority[1].subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(authority[0] if authority else key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return key, certificate


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca``, ``broker`` and ``client``, each with ``.pem`` and ``.key``."""
    folder = tmp_path_factory.mktemp("pems")
    authority = issue(folder, "ca", None)
    issue(folder, "broker", authority)
    issue(folder, "client", authority)
    issue(folder, "stranger", None)
    return folder


def tls(pems: Path, client_ca: str | None = None) -> TlsSettings:
    return TlsSettings(str(pems / "broker.pem"), str(pems / "broker.key"), client_ca)


@pytest.fixture(scope="module")
def secured(pems: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with TLS, users and tokens."""
    settings = BrokerSettings(tls=tls(pems), users=USERS, tokens={"t0ken": "carol"})
    with running_broker(tmp_path_factory.mktemp("secured"), settings) as address:
        yield address


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with users, without TLS."""
    with running_broker(tmp_path_factory.mktemp("plain"), BrokerSettings(users=USERS)) as address:
        yield address


class _KafkaToken(KafkaTokenProvider):
    def token(self) -> str:
        return "t0ken"


class _AioToken(AbstractTokenProvider):
    async def token(self) -> str:
        return "t0ken"


def sasl(mechanism: str, user: str, password: str) -> dict[str, Any]:
    if mechanism == "OAUTHBEARER":
        return {"sasl_mechanism": mechanism}
    return {"sasl_mechanism": mechanism, "sasl_plain_username": user, "sasl_plain_password": password}


def through_kafka_python(address: str, topic: str, ca: Path | None, mechanism: str, who: tuple[str, str]) -> bytes:
    config: dict[str, Any] = {
        "bootstrap_servers": address,
        "security_protocol": "SASL_SSL" if ca else "SASL_PLAINTEXT",
        **sasl(mechanism, *who),
    }
    if ca:
        config["ssl_cafile"] = str(ca)
    if mechanism == "OAUTHBEARER":
        config["sasl_oauth_token_provider"] = _KafkaToken()
    producer = kafka.KafkaProducer(**config)
    producer.send(topic, b"v").get(WAIT)
    producer.close()
    consumer = kafka.KafkaConsumer(topic, auto_offset_reset="earliest", consumer_timeout_ms=WAIT * 1000, **config)
    value = next(consumer).value
    consumer.close()
    return bytes(value)


def through_confluent(address: str, topic: str, ca: Path | None, mechanism: str, who: tuple[str, str]) -> bytes:
    config: dict[str, Any] = {
        "bootstrap.servers": address,
        "security.protocol": "SASL_SSL" if ca else "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
    }
    if ca:
        config["ssl.ca.location"] = str(ca)
    if mechanism == "OAUTHBEARER":
        config["oauth_cb"] = lambda _: ("t0ken", 4_000_000_000.0)
    else:
        config |= {"sasl.username": who[0], "sasl.password": who[1]}
    producer = confluent_kafka.Producer(config)
    producer.produce(topic, b"v")
    assert producer.flush(WAIT) == 0
    consumer = confluent_kafka.Consumer(config | {"group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(WAIT)
    consumer.close()
    assert message is not None
    return bytes(message.value() or b"")


def through_aiokafka(address: str, topic: str, ca: Path | None, mechanism: str, who: tuple[str, str]) -> bytes:
    async def main() -> bytes:
        config: dict[str, Any] = {
            "bootstrap_servers": address,
            "security_protocol": "SASL_SSL" if ca else "SASL_PLAINTEXT",
            **sasl(mechanism, *who),
        }
        if ca:
            config["ssl_context"] = create_ssl_context(cafile=str(ca))
        if mechanism == "OAUTHBEARER":
            config["sasl_oauth_token_provider"] = _AioToken()
        async with AIOKafkaProducer(**config) as producer:
            await producer.send_and_wait(topic, b"v")
        async with AIOKafkaConsumer(topic, auto_offset_reset="earliest", **config) as consumer:
            return bytes((await asyncio.wait_for(consumer.getone(), WAIT)).value)

    return asyncio.run(main())


@pytest.mark.parametrize("through", [through_kafka_python, through_confluent, through_aiokafka])
@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM, "OAUTHBEARER"])
def test_each_client_gets_in_over_tls_by_each_mechanism(
    secured: str, pems: Path, topic: str, through: Callable[..., bytes], mechanism: str
) -> None:
    """Produce and consume over SASL_SSL; names and passwords may hold what the mechanism escapes."""
    assert through(secured, topic, pems / "ca.pem", mechanism, ("ann", USERS["ann"])) == b"v"


@pytest.mark.parametrize("through", [through_kafka_python, through_confluent, through_aiokafka])
def test_each_client_gets_in_without_tls(plain: str, topic: str, through: Callable[..., bytes]) -> None:
    """Produce and consume over SASL_PLAINTEXT."""
    assert through(plain, topic, None, "SCRAM-SHA-512", ("bob", "b")) == b"v"


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
@pytest.mark.parametrize("who", [("ann", "pencil"), ("nobody", "b"), ("bob", "")])
def test_a_wrong_password_or_user_is_told_so(plain: str, mechanism: str, who: tuple[str, str]) -> None:
    """The client hears that it was not authenticated, in the same words for an unknown user."""
    errors: list[confluent_kafka.KafkaError] = []
    config: dict[str, Any] = {
        "bootstrap.servers": plain,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": who[0],
        "sasl.password": who[1] or " ",
        "error_cb": errors.append,
    }
    producer = confluent_kafka.Producer(config)
    for _ in range(int(WAIT * 10)):
        producer.poll(0.1)
        if errors:
            break
    assert errors[0].code() == confluent_kafka.KafkaError._AUTHENTICATION
    assert "Invalid username or password" in errors[0].str()
    producer.purge()


def test_requests_before_authentication_close_the_connection(plain: str, wires: Callable[[str], Any]) -> None:
    """Nothing is served to whom the broker does not know, not even names of topics."""
    wire = wires(plain)
    metadata = kafka.protocol.metadata
    wire.send(metadata.MetadataRequest(topics=None), 5)
    assert wire.is_closed_by_peer()
    wire = wires(plain)
    assert wire.call(metadata.ApiVersionsRequest(), metadata.ApiVersionsResponse, 0).error_code == 0


def handshake(wire: Any, mechanism: str) -> tuple[int, list[str]]:
    sasl_ = kafka.protocol.sasl
    answer = wire.call(sasl_.SaslHandshakeRequest(mechanism=mechanism), sasl_.SaslHandshakeResponse, 1)
    return answer.error_code, list(answer.mechanisms)


def authenticate(wire: Any, message: bytes) -> tuple[int, bytes]:
    sasl_ = kafka.protocol.sasl
    answer = wire.call(sasl_.SaslAuthenticateRequest(auth_bytes=message), sasl_.SaslAuthenticateResponse, 1)
    return answer.error_code, bytes(answer.auth_bytes)


def test_an_unknown_mechanism_is_refused_with_those_that_are_offered(plain: str, wires: Callable[[str], Any]) -> None:
    """Error 33, the list, and the end of the connection."""
    wire = wires(plain)
    assert handshake(wire, "GSSAPI") == (33, ["PLAIN", *SCRAM])
    assert wire.is_closed_by_peer()


def test_a_broker_without_users_refuses_a_handshake(bootstrap: str, wires: Callable[[str], Any]) -> None:
    """Error 34: a client that is set up for SASL is told, not left to wait."""
    wire = wires(bootstrap)
    assert handshake(wire, "PLAIN") == (34, [])
    assert wire.is_closed_by_peer()


@pytest.mark.parametrize(
    "messages",
    [
        (b"",),
        (b"\xff\xfe",),
        (b"p=tls-unique,,n=ann,r=abc",),
        (b"n,,n=ann,r=abc", b"c=biws,r=other,p=AAAA"),
        (b"n,,n=ann,r=abc", b"c=eSws,r=%s,p=AAAA"),
        (b"n,,n=ann,r=abc", b"c=biws,r=%s,p=AAAA"),
        (b"n,,n=ann,r=abc", b"c=biws,r=%s"),
        (b"n,,n=ann,r=abc", b"n,,n=ann,r=abc"),
    ],
)
def test_wrong_scram_messages_are_refused(plain: str, wires: Callable[[str], Any], messages: tuple[bytes, ...]) -> None:
    """Whatever is not the protocol ends in error 58 and a closed connection, never in a client let in."""
    wire = wires(plain)
    assert handshake(wire, "SCRAM-SHA-256")[0] == 0
    nonce = b""
    for message in messages[:-1]:
        code, answer = authenticate(wire, message)
        assert code == 0
        nonce = answer.split(b",")[0][2:]
        assert nonce.startswith(b"abc")
        assert len(nonce) > 20
    last = messages[-1]
    assert authenticate(wire, last % nonce if b"%s" in last else last)[0] == 58
    assert wire.is_closed_by_peer()


@pytest.mark.parametrize(("channel", "code"), [("biws", 0), ("eSws", 58)])
def test_the_channel_named_first_is_the_one_named_last(
    plain: str, wires: Callable[[str], Any], channel: str, code: int
) -> None:
    """With a right proof, but another channel binding than at first (RFC 5802, section 6), a client is not let in."""
    wire = wires(plain)
    assert handshake(wire, "SCRAM-SHA-256")[0] == 0
    _, first = authenticate(wire, b"n,,n=bob,r=abc")
    nonce, salt, rounds = (part[2:] for part in first.decode().split(",", 2))
    salted = hashlib.pbkdf2_hmac("sha256", b"b", b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", "sha256")
    last = f"c={channel},r={nonce}"
    said = b",".join((b"n=bob,r=abc", first, last.encode()))
    signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
    proof = b64encode(bytes(one ^ other for one, other in zip(key, signature, strict=True))).decode()
    assert authenticate(wire, f"{last},p={proof}".encode())[0] == code


def test_authentication_without_a_mechanism_is_refused(plain: str, wires: Callable[[str], Any]) -> None:
    """SaslAuthenticate before SaslHandshake is error 34."""
    wire = wires(plain)
    assert authenticate(wire, b"\0ann\0b")[0] == 34
    assert wire.is_closed_by_peer()


def test_clients_with_certificates(pems: Path, tmp_path: Path) -> None:
    """With authorities of clients, a client needs a certificate of theirs; without one it does not get in."""
    with running_broker(tmp_path, BrokerSettings(tls=tls(pems, str(pems / "ca.pem")))) as address:
        config = {"bootstrap_servers": address, "security_protocol": "SSL", "ssl_cafile": str(pems / "ca.pem")}
        producer = kafka.KafkaProducer(
            ssl_certfile=str(pems / "client.pem"), ssl_keyfile=str(pems / "client.key"), **config
        )
        assert producer.send("t", b"v").get(WAIT).offset == 0
        producer.close()
        host, _, port = address.rpartition(":")
        for certificate in (None, "stranger"):
            context = ssl.create_default_context(cafile=str(pems / "ca.pem"))
            if certificate is not None:
                context.load_cert_chain(pems / f"{certificate}.pem", pems / f"{certificate}.key")
            assert is_shut_out(host, int(port), context)


def is_shut_out(host: str, port: int, context: ssl.SSLContext) -> bool:
    """Whether a client gets no answer: TLS 1.3 tells it of the refusal at its first read, or by a reset."""
    try:
        with (
            socket.create_connection((host, port), WAIT) as raw,
            context.wrap_socket(raw, server_hostname=host) as wrapped,
        ):
            wrapped.sendall(bytes(20))
            return wrapped.recv(1) == b""
    except OSError:
        return True


def test_plain_text_to_a_tls_port_is_closed(secured: str, wires: Callable[[str], Any]) -> None:
    """A client without TLS is not left to wait."""
    wire = wires(secured)
    wire.raw(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff")
    assert wire.is_closed_by_peer()


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (("missing.pem", "broker.key"), "missing.pem"),
        (("broker.pem", "client.key"), "client.key"),
        (("broker.key", "broker.key"), "broker.key"),
        (("broker.pem", "broker.key", "missing.pem"), "missing.pem"),
    ],
)
def test_wrong_files_stop_the_start_and_are_named(
    pems: Path, tmp_path: Path, files: tuple[str, ...], named: str
) -> None:
    """Missing, mismatched and wrong PEM files are the user's mistake: told with their paths before anything starts."""
    settings = TlsSettings(*(str(pems / name) for name in files))
    with pytest.raises(ConfigurationError, match=named), running_broker(tmp_path, BrokerSettings(tls=settings)):
        pass


def test_no_password_is_seen(tmp_path: Path) -> None:
    """Neither the text of the settings nor the command line of a broker's process shows passwords or tokens."""
    settings = BrokerSettings(users={"ann": "s3cret"}, tokens={"t0ken": "ann"})
    assert "s3cret" not in repr(settings)
    assert "t0ken" not in repr(settings)
    assert BrokerSettings.from_json(settings.as_json()) == settings
    with BrokerProcess(tmp_path, settings) as broker:
        command = Path(f"/proc/{broker.pid}/cmdline")
        if command.exists():
            assert b"s3cret" not in command.read_bytes()
