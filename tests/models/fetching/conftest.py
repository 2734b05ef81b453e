"""Stores of one test run on this machine, and a cache of each test's own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .web import Web, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "s3cr3t-0f-a-test"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables of a user with an empty cache and no login anywhere."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HF_", "PIP_", "STORAGE_"))
    }
    return {
        **kept,
        "HEADRACE_MODEL_CACHE": str(tmp_path / "cache"),
        "HOME": str(tmp_path / "home"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture
def web() -> Iterator[Web]:
    """A server over plain HTTP."""
    with closing(_Running(Web())) as running:
        yield running.web


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's certificate with its key, that nobody trusts who is not given it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Web]:
    """A server over TLS."""
    with closing(_Running(Web(), certificate)) as running:
        yield running.web


class _Running:
    def __init__(self, web: Web, certificate: Path | None = None) -> None:
        self.web = web
        self._server = serve(web, certificate)

    def close(self) -> None:
        self.web.holds.set()
        self._server.shutdown()
        self._server.server_close()
