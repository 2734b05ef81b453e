"""Kafka's settings from where a cluster keeps them: variables, and a mounted Secret with Knative's key names.

A variable wins over the Secret. Variables are named after Kafka's own properties (``sasl.mechanism`` is
``KAFKA_SASL_MECHANISM``). A Secret is a folder that ``KAFKA_SECRET_DIR`` names (or ``KAFKA_SSL_FOLDER``, where only its
certificates are mounted) with one file a key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.eventing.kafka.settings import KafkaSettings, OAuth, problems
from headrace.eventing.kafka.tls import file_problems

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET_FOLDER = "KAFKA_SECRET_DIR"  # noqa: S105  # the name of a variable
CERTIFICATES_FOLDER = "KAFKA_SSL_FOLDER"
_TEXTS = {
    "bootstrap": ("KAFKA_BOOTSTRAP_SERVERS", None),
    "protocol": ("KAFKA_SECURITY_PROTOCOL", "protocol"),
    "mechanism": ("KAFKA_SASL_MECHANISM", "sasl.mechanism"),
    "user": ("KAFKA_SASL_USERNAME", "user"),
    "password": ("KAFKA_SASL_PASSWORD", "password"),
    "key_password": ("KAFKA_SSL_KEY_PASSWORD", None),
    "compression": ("KAFKA_COMPRESSION_TYPE", None),
    "driver": ("HEADRACE_KAFKA_DRIVER", None),
    "oauth.endpoint": ("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", None),
    "oauth.client_id": ("KAFKA_SASL_OAUTHBEARER_CLIENT_ID", None),
    "oauth.client_secret": ("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", None),
    "oauth.scope": ("KAFKA_SASL_OAUTHBEARER_SCOPE", None),
}
"""By field: its variable, and its key in the Secret."""
_FILES = {
    "ca": ("KAFKA_SSL_CA_FILE", "ca.crt"),
    "certificate": ("KAFKA_SSL_CERTIFICATE_FILE", "user.crt"),
    "key": ("KAFKA_SSL_KEY_FILE", "user.key"),
    "oauth.token_file": ("KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", None),
}
"""The same for fields that are files."""
_CLIENT_CERTIFICATE = ("certificate", "key")
_VERBATIM = ("password", "key_password", "oauth.client_secret")
"""Values in which a blank counts; a line's end does not, which editors and ``echo`` add."""
VARIABLES = frozenset({variable for variable, _ in (_TEXTS | _FILES).values()} | {SECRET_FOLDER, CERTIFICATES_FOLDER})
"""Every variable that is read here."""


def kafka_settings(environ: Mapping[str, str] | None = None, *, bootstrap: str | None = None) -> KafkaSettings:
    """The settings that the environment gives.

    Args:
        environ: The variables; None takes this process's.
        bootstrap: The address, where a flag gave it; else ``KAFKA_BOOTSTRAP_SERVERS``.

    Raises:
        ConfigurationError: names every variable and file that is wrong or missing; no value of a secret.
    """
    source = _Source(os.environ if environ is None else environ)
    values: dict[str, str | Path | None] = {name: source.text(name) for name in _TEXTS}
    values |= {name: source.file(name) for name in _FILES}
    if bootstrap:
        values["bootstrap"] = bootstrap
    if not str(values["protocol"] or "").endswith("SSL"):
        # A Secret may hold certificates for others; without TLS there is no use for them.
        values |= dict.fromkeys(("ca", *_CLIENT_CERTIFICATE))
    given = {name: value for name, value in values.items() if value is not None}
    missing = source.missing_folders(str(values["protocol"] or ""))
    found = (*missing, *source.problems, *problems(given, source.names), *file_problems(given, source.names))
    if found:
        raise ConfigurationError(f"The Kafka settings have {_count(len(found))}", problems=found)
    return _settings(given)


def _count(mistakes: int) -> str:
    return "a mistake" if mistakes == 1 else f"{mistakes} mistakes"


def _settings(values: Mapping[str, str | Path]) -> KafkaSettings:
    plain = {name: value for name, value in values.items() if "." not in name}
    inner = {name.partition(".")[2]: value for name, value in values.items() if "." in name}
    oauth = OAuth(**inner) if inner and plain.get("mechanism") == "OAUTHBEARER" else None  # type: ignore[arg-type]  # checked by `problems`
    return KafkaSettings(**plain, oauth=oauth)  # type: ignore[arg-type]  # the same


@dataclass(frozen=True, slots=True)
class _Secret:
    """A mounted Secret."""

    folder: Path
    variable: str

    def text(self, key: str, stripped: str | None = None) -> str | None:
        path = self.folder / key
        return path.read_text().strip(stripped) or None if path.is_file() else None


class _Source:
    """Reads variables and the Secret, and remembers where each value came from."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []
        self.names = {name: variable for name, (variable, _) in (_TEXTS | _FILES).items()}
        folders = (SECRET_FOLDER, CERTIFICATES_FOLDER)
        self._secrets = [_Secret(Path(environ[name]), name) for name in folders if environ.get(name)]

    def missing_folders(self, protocol: str) -> list[str]:
        """A sentence for each folder that is not there and is needed: certificates are by TLS alone."""
        return [
            f"{secret.variable}: there is no folder {secret.folder}"
            for secret in self._secrets
            if not secret.folder.is_dir() and (secret.variable == SECRET_FOLDER or protocol.endswith("SSL"))
        ]

    def text(self, name: str) -> str | None:
        """The value of a field."""
        variable, key = _TEXTS[name]
        if given := self._environ.get(variable, "").strip("\r\n" if name in _VERBATIM else None):
            return given
        for secret in self._secrets if key else ():
            assert key is not None
            try:
                found = secret.text(key, "\r\n" if name in _VERBATIM else None)
            except (OSError, UnicodeDecodeError) as fault:
                self.problems.append(f"{secret.folder / key} cannot be read: {type(fault).__name__}")
                continue
            if found:
                self.names[name] = str(secret.folder / key)
                return found
        return None

    def file(self, name: str) -> Path | None:
        """The file of a field."""
        variable, key = _FILES[name]
        if given := self._environ.get(variable, "").strip():
            return Path(given)
        for secret in self._secrets if key else ():
            assert key is not None
            if name in _CLIENT_CERTIFICATE and self._skips_certificate(secret):
                continue
            if (path := secret.folder / key).is_file():
                self.names[name] = str(path)
                return path
        return None

    @staticmethod
    def _skips_certificate(secret: _Secret) -> bool:
        # Knative's word for TLS without a client certificate, though the Secret has one.
        try:
            return secret.text("user.skip") == "true"
        except (OSError, UnicodeDecodeError):
            return False
