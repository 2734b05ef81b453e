"""Which broker, which twin: what the commands share when the user names none."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.local.state import Home
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.local.state import State

DEFAULT_KAFKA = "127.0.0.1:9092"
KAFKA_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
KAFKA_HELP = (
    "HOST:PORT of the broker [default: $KAFKA_BOOTSTRAP_SERVERS, else that of the running `headrace up`]; "
    "TLS and login by variables, see docs/kafka.md"
)
OUTPUT_HELP = "table for people, json for programs."


def kafka_settings(given: str | None) -> KafkaSettings:
    """The broker to use: the one given, the environment's, the running twin's, or Kafka's usual port here.

    TLS, login and the rest come from the environment, and from the Secret that it names.

    Raises:
        ConfigurationError: the environment's settings are wrong, or are for a cluster whose address is missing.
    """
    from headrace.eventing.kafka import environment

    if given or os.environ.get(KAFKA_VARIABLE):
        return environment.kafka_settings(bootstrap=given)
    running = Home.of().read()
    settings = environment.kafka_settings(bootstrap=running.kafka if running else DEFAULT_KAFKA)
    if settings.protocol != "PLAINTEXT":
        raise ConfigurationError(
            f"Kafka's protocol is {settings.protocol}, and no broker is named", hint=f"set {KAFKA_VARIABLE}, or --kafka"
        )
    return settings


def running_twin() -> State:
    """The twin of this home.

    Raises:
        ConfigurationError: none runs.
    """
    home = Home.of()
    found = home.read()
    if found is None:
        raise ConfigurationError(f"Nothing is up in {home.path}", hint="start it with `headrace up -f headrace.yaml`")
    return found


def trace_this_command(service: str) -> TracerProvider | None:
    """Send this command's spans to the running twin's store too, so that a trace begins where the event does."""
    environment = dict(os.environ)
    running = Home.of().read()
    if running:
        environment.setdefault(tracing.LOCAL_ENDPOINT, running.otlp)
    return tracing.configure(service, environment)


def person_looks_on() -> bool:
    """Whether standard error is a terminal: then long work shows its progress there."""
    return sys.stderr.isatty()
