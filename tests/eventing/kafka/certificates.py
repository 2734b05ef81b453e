"""Certificates made for one test run: an authority, a broker's and a client's."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

KEY_PASSWORD = "kp-7f3a9d1e"
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of one authority."""

    ca: Path
    broker: Path
    """Certificate and key in one file."""
    client: Path
    client_key: Path
    encrypted_key: Path
    """The same key under :data:`KEY_PASSWORD`."""


def make_certificates(folder: Path) -> Certificates:
    """An authority with a broker on 127.0.0.1 and a client."""
    folder.mkdir(parents=True)
    ca_key, ca = _signed("test authority", None)
    broker_key, broker = _signed("127.0.0.1", (ca_key, ca))
    client_key, client = _signed("client", (ca_key, ca))
    plain, locked = serialization.NoEncryption(), serialization.BestAvailableEncryption(KEY_PASSWORD.encode())
    return Certificates(
        ca=_write(folder / "ca.crt", _pem(ca)),
        broker=_write(folder / "broker.pem", _key(broker_key, plain) + _pem(broker) + _pem(ca)),
        client=_write(folder / "user.crt", _pem(client)),
        client_key=_write(folder / "user.key", _key(client_key, plain)),
        encrypted_key=_write(folder / "locked.key", _key(client_key, locked)),
    )


def _signed(
    name: str, issuer: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(here, critical=False)
    return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
