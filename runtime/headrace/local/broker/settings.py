"""What a user of the embedded broker may choose."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS on the listener; every file is PEM."""

    certificate: str
    """Path of the server's certificate, with the chain to its authority."""
    key: str
    """Path of its private key, without a password."""
    client_ca: str | None = None
    """Path of the authorities that clients' certificates must come from; None asks clients for none."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Limits and habits of one embedded broker."""

    auto_create_topics: bool = True
    """Whether a topic comes into being when a client first names it."""
    default_partitions: int = 1
    """Partitions of a topic that is created without a number."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Largest record batch, in bytes, of a topic without its own ``max.message.bytes``: pictures fit."""
    max_request_bytes: int = 64 * 1024 * 1024
    """Largest request frame in bytes; a longer one closes its connection."""
    topic_defaults: dict[str, str] = field(default_factory=dict)
    """Configs of topics that do not set them, such as ``retention.ms``; Kafka's own defaults stand behind them."""
    sync_every: float | None = None
    """Seconds between syncs of what was written to the disk; 0: every acknowledgement waits for its own; None: never,
    the kernel writes back when it likes. What was acknowledged survives the end of the process, SIGKILL as well, in
    every case; a power cut may take what was not synced."""
    retention_check_interval: float = 300.0
    """Seconds between looks for segments to delete and logs to compact."""
    tls: TlsSettings | None = None
    """TLS for every client; None is plain text."""
    users: dict[str, str] = field(default_factory=dict, repr=False)
    """Password by user: with any, clients authenticate by SASL PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    """User by bearer token: with any, clients may authenticate by SASL OAUTHBEARER."""
    initial_rebalance_delay: float = 0.1
    """Seconds that an empty group waits for more members before its first assignment."""
    min_session_timeout: int = 100
    """Shortest session timeout, in milliseconds, that a group member may ask for."""
    max_session_timeout: int = 1_800_000
    """Longest session timeout, in milliseconds, that a group member may ask for."""
    max_transaction_timeout: int = 900_000
    """Longest transaction timeout, in milliseconds, that a producer may ask for."""
    max_offset_metadata: int = 4096
    """Longest text, in UTF-8 bytes, that may be committed beside an offset."""

    @property
    def syncs_each(self) -> bool:
        """Whether every acknowledgement waits for the disk."""
        return self.sync_every == 0

    @property
    def broker_defaults(self) -> dict[str, str]:
        """Defaults of topic configs that are this broker's own."""
        return {"max.message.bytes": str(self.max_message_bytes), **self.topic_defaults}

    @property
    def authenticates(self) -> bool:
        """Whether clients must say who they are."""
        return bool(self.users or self.tokens)

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON has it; with the passwords."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """The settings that :meth:`as_json` was asked of."""
        tls = fields["tls"]
        return cls(**fields | {"tls": TlsSettings(**tls) if tls is not None else None})
