"""Kafka's settings from variables and a mounted Secret: what is taken, what is refused, and that no secret is told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ConfigurationError
from headrace.eventing.kafka.driver import driver_of
from headrace.eventing.kafka.environment import kafka_settings
from headrace.eventing.kafka.meanings import LOGIN_REFUSED, error_of
from headrace.eventing.kafka.settings import KafkaSettings, OAuth

from .certificates import KEY_PASSWORD, Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET = "s3cret-8d1f"
BROKER = {"KAFKA_BOOTSTRAP_SERVERS": "broker:9092"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, a broker's and a client's."""
    return make_certificates(tmp_path_factory.mktemp("pki") / "certificates")


def secret(folder: Path, keys: Mapping[str, str]) -> Path:
    """A mounted Secret with these keys."""
    folder.mkdir()
    for key, value in keys.items():
        (folder / key).write_text(value)
    return folder


def mistakes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with an environment."""
    with pytest.raises(ConfigurationError) as refused:
        kafka_settings(environ)
    told = str(refused.value)
    assert SECRET not in told
    assert all(problem in told for problem in refused.value.problems), "every mistake is printed"
    return refused.value.problems


def test_an_address_alone_is_a_cluster_without_tls_and_login() -> None:
    """A string and a variable mean the same; a flag wins over the variable."""
    assert kafka_settings(BROKER) == KafkaSettings("broker:9092")
    assert kafka_settings(BROKER, bootstrap="a:1,b:2").bootstrap == "a:1,b:2"


def test_a_mounted_secret_with_knatives_keys(tmp_path: Path, certificates: Certificates) -> None:
    """The keys that Knative names, as files: one Secret serves Knative, KEDA and Headrace."""
    folder = secret(
        tmp_path / "secret",
        {
            "protocol": "SASL_SSL\n",
            "sasl.mechanism": "SCRAM-SHA-512",
            "user": "alice",
            "password": f" {SECRET} \n",
            "ca.crt": certificates.ca.read_text(),
            "user.crt": certificates.client.read_text(),
            "user.key": certificates.client_key.read_text(),
        },
    )
    found = kafka_settings(BROKER | {"KAFKA_SECRET_DIR": str(folder)})
    assert (found.protocol, found.mechanism, found.user) == ("SASL_SSL", "SCRAM-SHA-512", "alice")
    assert found.password == f" {SECRET} ", "a line's end is an editor's, a blank is the password's"
    assert (found.ca, found.certificate, found.key) == tuple(folder / n for n in ("ca.crt", "user.crt", "user.key"))


def test_knatives_word_for_no_client_certificate(tmp_path: Path, certificates: Certificates) -> None:
    """With user.skip the client shows no certificate, though the Secret has one."""
    keys = {"protocol": "SSL", "user.skip": "true", "ca.crt": certificates.ca.read_text()}
    keys |= {"user.crt": certificates.client.read_text(), "user.key": certificates.client_key.read_text()}
    found = kafka_settings(BROKER | {"KAFKA_SECRET_DIR": str(secret(tmp_path / "secret", keys))})
    assert (found.ca is not None, found.certificate, found.key) == (True, None, None)


def test_a_variable_wins_over_the_secret(tmp_path: Path) -> None:
    """What a pod's environment says is nearer than what is mounted."""
    keys = {"protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "user": "alice", "password": "old"}
    folder = secret(tmp_path / "secret", keys)
    found = kafka_settings(BROKER | {"KAFKA_SECRET_DIR": str(folder), "KAFKA_SASL_PASSWORD": SECRET})
    assert (found.user, found.password) == ("alice", SECRET)


def test_a_pod_without_tls_needs_no_folder_of_certificates(tmp_path: Path) -> None:
    """The folder that every pod of an app with a secured Kafka mounts matters where TLS is spoken."""
    folder = {"KAFKA_SSL_FOLDER": str(tmp_path / "none")}
    assert kafka_settings(BROKER | folder) == KafkaSettings("broker:9092")
    assert "KAFKA_SSL_FOLDER" in mistakes(BROKER | folder | {"KAFKA_SECURITY_PROTOCOL": "SSL"})[0]


SASL = BROKER | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
OAUTH = SASL | {"KAFKA_SASL_MECHANISM": "OAUTHBEARER"}
ENDPOINT = "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, ["KAFKA_BOOTSTRAP_SERVERS is missing"]),
        ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, ["'broker' is not HOST:PORT"]),
        ({"KAFKA_BOOTSTRAP_SERVERS": "b:1,http://c:2"}, ["'http://c:2' is not HOST:PORT"]),
        (BROKER | {"KAFKA_SECURITY_PROTOCOL": "TLS"}, ["KAFKA_SECURITY_PROTOCOL: 'TLS' is none of PLAINTEXT"]),
        (SASL, ["KAFKA_SASL_MECHANISM is missing"]),
        (SASL | {"KAFKA_SASL_MECHANISM": "GSSAPI"}, ["KAFKA_SASL_MECHANISM: 'GSSAPI' is none of"]),
        (
            SASL | {"KAFKA_SASL_MECHANISM": "PLAIN"},
            ["KAFKA_SASL_USERNAME is missing: PLAIN needs it", "KAFKA_SASL_PASSWORD is missing: PLAIN needs it"],
        ),
        (BROKER | {"KAFKA_SASL_MECHANISM": "PLAIN"}, ["yet KAFKA_SECURITY_PROTOCOL is PLAINTEXT"]),
        (OAUTH, ["OAUTHBEARER needs one of KAFKA_SASL_OAUTHBEARER_TOKEN_FILE and"]),
        (OAUTH | {ENDPOINT: "https://idp/token"}, ["CLIENT_ID is missing", "CLIENT_SECRET is missing"]),
        (
            OAUTH
            | {
                ENDPOINT: f"http://u:{SECRET}@idp/token",
                "KAFKA_SASL_OAUTHBEARER_CLIENT_ID": "me",
                "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": SECRET,
            },
            ["does not begin with https://"],
        ),
        (BROKER | {"KAFKA_COMPRESSION_TYPE": "rar"}, ["KAFKA_COMPRESSION_TYPE: 'rar' is none of none, gzip"]),
        (BROKER | {"HEADRACE_KAFKA_DRIVER": "librd"}, ["HEADRACE_KAFKA_DRIVER: 'librd' is none of"]),
        (BROKER | {"KAFKA_SECRET_DIR": "/nowhere"}, ["KAFKA_SECRET_DIR: there is no folder /nowhere"]),
        (
            BROKER | {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTIFICATE_FILE": "/nowhere/tls.crt"},
            ["a certificate needs its key", "KAFKA_SSL_CERTIFICATE_FILE: there is no file /nowhere/tls.crt"],
        ),
    ],
)
def test_every_mistake_is_told_by_the_name_that_the_user_gave(environ: Mapping[str, str], told: list[str]) -> None:
    """All mistakes at once, each with its variable, and none with a secret's value."""
    found = mistakes(environ)
    assert len(found) == len(told), found
    for sentence, part in zip(found, told, strict=True):
        assert part in sentence


def test_files_that_are_no_certificates_are_told_before_anything_connects(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A wrong PEM file, a key of another certificate, and a key whose password is missing, each by its file."""
    ssl = BROKER | {"KAFKA_SECURITY_PROTOCOL": "SSL"}
    (tmp_path / "junk").write_text("junk")
    assert "holds no PEM certificate" in mistakes(ssl | {"KAFKA_SSL_CA_FILE": str(tmp_path / "junk")})[0]
    pair = ssl | {"KAFKA_SSL_CERTIFICATE_FILE": str(certificates.client)}
    for key in (certificates.broker, certificates.encrypted_key):
        assert "are no PEM certificate and its key" in mistakes(pair | {"KAFKA_SSL_KEY_FILE": str(key)})[0]
    locked = pair | {"KAFKA_SSL_KEY_FILE": str(certificates.encrypted_key), "KAFKA_SSL_KEY_PASSWORD": KEY_PASSWORD}
    assert kafka_settings(locked).key_password == KEY_PASSWORD


def test_no_secret_is_in_a_repr_or_an_error() -> None:
    """Settings may be logged, and what a client library says may be repeated: secrets are masked in both."""
    oauth = OAuth(endpoint="https://idp/token", client_id="me", client_secret=SECRET)
    plain = KafkaSettings(
        "b:9092", protocol="SASL_SSL", mechanism="PLAIN", user="alice", password=SECRET, key_password=f"k-{SECRET}"
    )
    bearer = KafkaSettings("broker:9092", protocol="SASL_SSL", mechanism="OAUTHBEARER", oauth=oauth)
    for settings in (plain, bearer):
        assert SECRET not in repr(settings)
        fault = error_of(LOGIN_REFUSED, f"refused {SECRET} and k-{SECRET}", settings)
        assert SECRET not in str(fault)
        assert "***" in str(fault)


def test_the_driver_is_chosen_by_setting_then_variable_then_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """kafka-python where nothing is said; a name that is none is refused with those that are."""
    monkeypatch.delenv("HEADRACE_KAFKA_DRIVER", raising=False)
    assert type(driver_of(KafkaSettings("b:1"))).__name__ == "KafkaPython"
    monkeypatch.setenv("HEADRACE_KAFKA_DRIVER", "other")
    with pytest.raises(ConfigurationError, match="one of kafka-python, confluent"):
        driver_of(KafkaSettings("b:1"))
    assert type(driver_of(KafkaSettings("b:1", driver="kafka-python"))).__name__ == "KafkaPython"


def test_a_driver_that_is_not_installed_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """confluent-kafka is an extra: without it, the extra is named."""
    for module in ("client", "connection", "consumer", "producer", "words"):
        monkeypatch.delitem(sys.modules, f"headrace.eventing.kafka.confluent.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigurationError, match=r"headrace\[confluent\]"):
        driver_of(KafkaSettings("b:1", driver="confluent"))
