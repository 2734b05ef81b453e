"""Certificates: whether the files are there and fit, and why a handshake fails."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.kafka.settings import KafkaSettings

HANDSHAKE_TIMEOUT = 3.0
"""Seconds for a handshake that is only made to learn why others fail."""
_FILES = ("ca", "certificate", "key", "oauth.token_file")


def file_problems(values: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    """Every file of the settings that is missing, unreadable or no PEM.

    Args:
        values: By field of :class:`~headrace.eventing.kafka.settings.KafkaSettings`.
        names: What the user calls a field.
    """
    paths = {name: Path(values[name]) for name in _FILES if values.get(name)}
    found = {name: trouble for name, path in paths.items() if (trouble := _unreadable(path))}
    told = [f"{names.get(name, name)}: {trouble}" for name, trouble in found.items()]
    if "ca" in paths and "ca" not in found and not _loads_authorities(paths["ca"]):
        told.append(f"{names.get('ca', 'ca')}: {paths['ca']} holds no PEM certificate")
    if {"certificate", "key"} <= paths.keys() - found.keys():
        trouble = _pair_trouble(paths["certificate"], paths["key"], values.get("key_password"))
        told += [f"{names.get('certificate', 'certificate')}: {trouble}"] if trouble else []
    return tuple(told)


def check_files(settings: KafkaSettings) -> None:
    """Look at the settings' files before a client does, whose faults would come late and from a thread of its own.

    Raises:
        ConfigurationError: a file is missing, unreadable or no PEM; names every one.
    """
    values = {
        "ca": settings.ca,
        "certificate": settings.certificate,
        "key": settings.key,
        "key_password": settings.key_password,
        "oauth.token_file": settings.oauth.token_file if settings.oauth else None,
    }
    found = file_problems(values, {})
    if found:
        raise ConfigurationError(f"Files of the settings for Kafka at {settings.bootstrap}", problems=found)


def handshake_trouble(settings: KafkaSettings) -> str | None:
    """Why TLS with the first broker that answers does not come about; None where it does, or where none answers.

    Clients say no more than that no broker is available; this makes one handshake to say the reason.
    """
    if not settings.tls:
        return None
    context = _context(settings)
    for address in settings.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            plain = socket.create_connection((host.strip("[]"), int(port)), HANDSHAKE_TIMEOUT)
        except OSError:
            continue
        return _handshake(context, plain, host.strip("[]"))
    return None


def _handshake(context: ssl.SSLContext, plain: socket.socket, host: str) -> str | None:
    with plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as wrapped:
                # TLS 1.3 tells of a client certificate that is refused only with the first bytes after the handshake.
                wrapped.settimeout(0.5)
                wrapped.recv(1)
        except ssl.SSLCertVerificationError as fault:
            return f"the broker's certificate is not trusted: {fault.verify_message}"
        except ssl.SSLError as fault:
            return f"the TLS handshake fails: {fault.reason or fault}"
        except OSError:
            return None
    return None


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca)
    if settings.certificate and settings.key:
        context.load_cert_chain(settings.certificate, settings.key, settings.key_password)
    return context


def _unreadable(path: Path) -> str | None:
    if not path.is_file():
        return f"there is no file {path}"
    return None if os.access(path, os.R_OK) else f"{path} may not be read"


def _loads_authorities(path: Path) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError):
        return False
    return True


def _pair_trouble(certificate: Path, key: Path, password: str | None) -> str | None:
    try:
        # Never ask on the terminal: an encrypted key without a password is a mistake.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password or "")
    except (ssl.SSLError, OSError, ValueError) as fault:
        reason = getattr(fault, "reason", None) or type(fault).__name__
        return f"{certificate} and {key} are no PEM certificate and its key ({reason})"
    return None
