"""``headrace broker``: the embedded Kafka broker alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.local.broker import EmbeddedBroker, TlsSettings


_TopicDefault = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE, a config of every topic that does not set it, such as retention.ms=86400000. May be given "
        "several times."
    ),
]
_RetentionCheck = Annotated[
    float, typer.Option(help="Seconds between looks for records to delete and logs to compact.", min=0.01)
]
_Certificate = Annotated[
    Path | None, typer.Option(help="PEM file with the server's certificate: clients come by TLS.", dir_okay=False)
]
_Key = Annotated[Path | None, typer.Option(help="PEM file with its private key, without a password.", dir_okay=False)]
_ClientCa = Annotated[
    Path | None, typer.Option(help="PEM file with the authorities that clients need a certificate of.", dir_okay=False)
]
_Users = Annotated[
    Path | None,
    typer.Option(
        help="File with a line USER:PASSWORD for each user: clients authenticate by SASL PLAIN, SCRAM-SHA-256 or "
        "SCRAM-SHA-512.",
        dir_okay=False,
    ),
]


def broker(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 9092,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the logs. [default: $HEADRACE_HOME/kafka, else ~/.local/state/headrace/kafka]",
            file_okay=False,
        ),
    ] = None,
    sync: Annotated[
        str,
        typer.Option(
            help="When to sync to the disk, against power cuts: never, each (before every acknowledgement, slow), or "
            "every so many milliseconds, such as 250ms."
        ),
    ] = "never",
    topic_default: _TopicDefault = None,
    retention_check: _RetentionCheck = 300.0,
    certificate: _Certificate = None,
    key: _Key = None,
    client_ca: _ClientCa = None,
    users: _Users = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of /metrics for Prometheus, loopback only.", min=1, max=65535)
    ] = None,
) -> None:
    """Run a Kafka broker on this machine until it is interrupted.

    It serves loopback only, keeps everything that it has acknowledged over restarts, and removes only what a topic's
    retention, compaction or deletion says.
    """
    from headrace.local.broker import BrokerSettings, run

    folder = data if data is not None else default_data()
    from headrace.telemetry.logs import configure_logs

    configure_logs()
    settings = BrokerSettings(
        sync_every=_sync_every(sync),
        topic_defaults=_pairs(topic_default or []),
        retention_check_interval=retention_check,
        tls=_tls(certificate, key, client_ca),
        users=_users(users) if users is not None else {},
    )

    def ready(running: EmbeddedBroker) -> None:
        if metrics_port is not None:
            _serve_metrics(running, metrics_port)
        typer.echo(f"Kafka on {running.bootstrap}, data in {folder}")

    run(folder, port=port, on_ready=ready, settings=settings)


def _serve_metrics(running: EmbeddedBroker, port: int) -> None:
    """In a thread that ends with the process."""
    from prometheus_client import REGISTRY

    from headrace.local.broker.measures import BrokerMeasures
    from headrace.telemetry.metrics.exposition import Joined, serve

    serve(Joined(BrokerMeasures(running), REGISTRY), port, "127.0.0.1")


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsSettings | None:
    from headrace.local.broker import TlsSettings

    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError("TLS needs a certificate and its key", hint="give both --certificate and --key")
    return TlsSettings(str(certificate), str(key), str(client_ca) if client_ca is not None else None)


def _pairs(given: list[str]) -> dict[str, str]:
    for one in given:
        if "=" not in one:
            raise ConfigurationError(f"--topic-default {one} means nothing", hint="say NAME=VALUE")
    return dict(one.split("=", 1) for one in given)


def _users(path: Path) -> dict[str, str]:
    """Password by user; no line is ever shown, for it may hold a password."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationError(
            f"The users in {path} cannot be read: {fault}", hint="name a text file with lines USER:PASSWORD"
        ) from fault
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        user, colon, password = line.partition(":")
        if line.strip() and not (colon and user and password):
            raise ConfigurationError(f"{path}, line {number} is not USER:PASSWORD", hint="give each user one line")
        if line.strip():
            found[user] = password
    if not found:
        raise ConfigurationError(f"{path} names no user", hint="write a line USER:PASSWORD for each")
    return found


def _sync_every(policy: str) -> float | None:
    """Seconds, as the settings have them."""
    if policy == "never":
        return None
    if policy == "each":
        return 0
    number = policy.removesuffix("ms")
    if policy.endswith("ms") and number.isdecimal() and int(number) > 0:
        return int(number) / 1000
    raise ConfigurationError(f"--sync {policy} means nothing", hint="say never, each, or a time such as 250ms")


def default_data() -> Path:
    """Where the broker keeps its logs when nobody says otherwise."""
    home = os.environ.get("HEADRACE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state" / "headrace") / "kafka"
