"""How to reach a Kafka cluster, and how to prove who one is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = (*PASSWORD_MECHANISMS, "OAUTHBEARER")
COMPRESSIONS = ("none", "gzip", "lz4", "snappy", "zstd")
DRIVERS = ("kafka-python", "confluent")
MASK = "***"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Where OAUTHBEARER's token comes from: a file that something else keeps fresh, or client credentials.

    Exactly one of ``token_file`` and ``endpoint`` is set.
    """

    token_file: Path | None = None
    """Holds the token alone; read again for every new login, so that a mounted token may be renewed."""
    endpoint: str | None = None
    """``https://`` URL of the token endpoint (OAuth 2.0, RFC 6749 section 4.4); ``http://`` to this machine only."""
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How clients reach a cluster. Secrets are in no ``repr``.

    Raises:
        ConfigurationError: values are missing, unknown or contradict each other; names every one. Files are looked at
            when a client is opened.
    """

    bootstrap: str
    """``HOST:PORT`` of one broker or several, with commas between."""
    protocol: str = field(default="PLAINTEXT", kw_only=True)
    """One of :data:`PROTOCOLS`."""
    mechanism: str | None = field(default=None, kw_only=True)
    """One of :data:`MECHANISMS`, with the SASL protocols."""
    user: str | None = field(default=None, kw_only=True)
    password: str | None = field(default=None, kw_only=True, repr=False)
    ca: Path | None = field(default=None, kw_only=True)
    """PEM file of the authorities that the brokers' certificates come from; None trusts those of the system."""
    certificate: Path | None = field(default=None, kw_only=True)
    """PEM file of the client's certificate, and of what leads to its authority."""
    key: Path | None = field(default=None, kw_only=True)
    """PEM file of its private key."""
    key_password: str | None = field(default=None, kw_only=True, repr=False)
    oauth: OAuth | None = field(default=None, kw_only=True)
    compression: str = field(default="none", kw_only=True)
    """What producers compress with, one of :data:`COMPRESSIONS`."""
    driver: str | None = field(default=None, kw_only=True)
    """One of :data:`DRIVERS`; None takes ``$HEADRACE_KAFKA_DRIVER``, else kafka-python."""

    def __post_init__(self) -> None:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        found = problems(values, {})
        if found:
            raise ConfigurationError(f"Kafka settings have {len(found)} mistakes", problems=found)

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether a client logs in by SASL."""
        return self.protocol.startswith("SASL_")

    def redact(self, text: str) -> str:
        """The text with every secret of these settings masked, for messages that others wrote."""
        secrets = (self.password, self.key_password, self.oauth.client_secret if self.oauth else None)
        for secret in secrets:
            if secret:
                text = text.replace(secret, MASK)
        return text


def as_settings(kafka: KafkaSettings | str) -> KafkaSettings:
    """The settings; a string is the address of a cluster without TLS and login."""
    return kafka if isinstance(kafka, KafkaSettings) else KafkaSettings(kafka)


def problems(values: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    """Every mistake in the fields of :class:`KafkaSettings`, in one sentence each.

    Args:
        values: By field, the fields of ``oauth`` among them as ``oauth.client_id``.
        names: What the user calls a field, such as a variable; a field without one is called by its own name.
    """
    told = _Told(values, names)
    return (*_address(told), *_choices(told), *_tls(told), *_login(told))


class _Told:
    """What was said, and by what name."""

    def __init__(self, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        oauth = values.get("oauth")
        inner = {f"oauth.{each.name}": getattr(oauth, each.name) for each in fields(OAuth)} if oauth else {}
        self._values = {**values, **inner}
        self._names = names

    def __getitem__(self, name: str) -> Any:
        return self._values.get(name)

    def name(self, name: str) -> str:
        return self._names.get(name, name)

    @property
    def protocol(self) -> str:
        return self._values.get("protocol") or "PLAINTEXT"


def _address(told: _Told) -> list[str]:
    bootstrap = told["bootstrap"]
    if not bootstrap:
        return [f"{told.name('bootstrap')} is missing: give HOST:PORT of a broker"]
    wrong = [address for address in bootstrap.split(",") if not _is_address(address.strip())]
    return [f"{told.name('bootstrap')}: {address!r} is not HOST:PORT" for address in wrong]


def _is_address(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and "/" not in host and port.isdecimal() and 0 < int(port) < 65_536  # noqa: PLR2004  # TCP's limit


def _choices(told: _Told) -> list[str]:
    known = {"protocol": PROTOCOLS, "mechanism": MECHANISMS, "compression": COMPRESSIONS, "driver": DRIVERS}
    return [
        f"{told.name(field_name)}: {told[field_name]!r} is none of {', '.join(choices)}"
        for field_name, choices in known.items()
        if told[field_name] and told[field_name] not in choices
    ]


def _tls(told: _Told) -> list[str]:
    certificate, key = told["certificate"], told["key"]
    if certificate and not key:
        return [f"{told.name('certificate')} is set, and {told.name('key')} is not: a certificate needs its key"]
    if key and not certificate:
        return [f"{told.name('key')} is set, and {told.name('certificate')} is not: a key needs its certificate"]
    return []


def _login(told: _Told) -> list[str]:
    mechanism, protocol = told["mechanism"], told.protocol
    if not protocol.startswith("SASL_"):
        if not mechanism or protocol not in PROTOCOLS:
            return []
        said = f"{told.name('mechanism')} is {mechanism}, yet {told.name('protocol')} is {protocol}"
        return [f"{said} and nobody would log in: set it to SASL_SSL or SASL_PLAINTEXT"]
    if not mechanism:
        return [f"{told.name('mechanism')} is missing: {protocol} needs one of {', '.join(MECHANISMS)}"]
    if mechanism in PASSWORD_MECHANISMS:
        return [f"{told.name(one)} is missing: {mechanism} needs it" for one in ("user", "password") if not told[one]]
    return _oauth(told) if mechanism == "OAUTHBEARER" else []


def _oauth(told: _Told) -> list[str]:
    file, endpoint = told["oauth.token_file"], told["oauth.endpoint"]
    if bool(file) == bool(endpoint):
        either = f"{told.name('oauth.token_file')} and {told.name('oauth.endpoint')}"
        return [f"OAUTHBEARER needs one of {either}, and {'both are' if file else 'none is'} set"]
    if file:
        return []
    missing = [
        f"{told.name(one)} is missing: a token endpoint needs it"
        for one in ("oauth.client_id", "oauth.client_secret")
        if not told[one]
    ]
    return [*missing, *_endpoint(told, endpoint)]


def _endpoint(told: _Told, endpoint: str) -> list[str]:
    url = urlsplit(endpoint)
    if url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK):
        return []
    # The value is not repeated: a URL may hold a password.
    return [f"{told.name('oauth.endpoint')} does not begin with https://: a secret would travel in the open"]
