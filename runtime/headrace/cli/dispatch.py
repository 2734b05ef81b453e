"""``headrace dispatch``: what the dispatcher's container runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.target import KAFKA_HELP, kafka_address
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.eventing.dispatch import DispatchSettings
    from headrace.manifests.spec import InferenceApp


def dispatch(
    file: Annotated[Path, typer.Option("--file", "-f", help="The headrace.yaml with the app.")],
    app: Annotated[str, typer.Option(help="Name of the app in it.")],
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    sink: Annotated[str | None, typer.Option(help="URL that events are posted to [default: $K_SINK].")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Most deliveries under way at once.")] = 16,
) -> None:
    """Deliver a topic's events to an app's model, and its answers to Kafka, until SIGTERM or Ctrl-C.

    Reads K_SINK (where to deliver), HEADRACE_WAKE (comma-separated base URLs whose readiness is asked before the
    first delivery, so that a chain that is scaled to zero starts at once) and POD_NAME (names this member).
    """
    from headrace.manifests.loading import load_apps

    _refuse_secured_kafka()
    chosen = _choose(load_apps(file), app, file)
    _refuse_filters(chosen)
    url = sink or os.environ.get("K_SINK")
    if not url:
        raise ConfigurationError("No sink to deliver to", hint="set K_SINK, or give --sink URL")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("kafka").setLevel(logging.ERROR)
    asyncio.run(_run(chosen, kafka_address(kafka), url, concurrency))


def _refuse_secured_kafka() -> None:
    # Rendered for an app with `spec.kafka`. Better said here than found out by connections that a broker breaks off.
    protocol = os.environ.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    if protocol != "PLAINTEXT":
        raise ConfigurationError(
            f"KAFKA_SECURITY_PROTOCOL={protocol}: this version speaks to Kafka without TLS and login only",
            hint="give the dispatcher a PLAINTEXT listener, or wait for the next version",
        )


def _refuse_filters(app: InferenceApp) -> None:
    # The dispatcher does not ask them yet. Passing them over would send every event of the topic to the model.
    if app.spec.trigger.filter is not None or app.spec.trigger.filters:
        raise ConfigurationError(
            f"app {app.name}: this version's dispatcher does not filter",
            hint="remove spec.trigger.filter and filters, or set delivery: knative-broker",
        )


def _choose(apps: list[InferenceApp], name: str, file: Path) -> InferenceApp:
    for app in apps:
        if app.name == name:
            return app
    known = ", ".join(app.name for app in apps)
    raise ConfigurationError(f"{file} has no app {name!r}", hint=f"it has {known}")


async def _run(app: InferenceApp, kafka: str, url: str, concurrency: int) -> None:
    from headrace.eventing.dispatch import Dispatcher
    from headrace.eventing.http_sink import HttpSink
    from headrace.eventing.kafka.member import KafkaMember
    from headrace.telemetry import tracing

    provider = tracing.configure(f"{app.name}-dispatcher")
    settings = _settings(app, concurrency)
    wake = tuple(base for base in os.environ.get("HEADRACE_WAKE", "").split(",") if base)
    sink = HttpSink(url, wake=wake, timeout=app.spec.trigger.timeout.total_seconds(), connections=concurrency)
    member = KafkaMember(
        kafka,
        topic=app.spec.trigger.topic,
        group=app.consumer_group,
        name=os.environ.get("POD_NAME"),
        drain=settings.drain,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    typer.echo(f"dispatching {app.spec.trigger.topic} of {kafka} to {url}")
    try:
        await Dispatcher(member, sink, settings).run(stop)
    finally:
        await sink.close()
        if provider:
            provider.shutdown()


def _settings(app: InferenceApp, concurrency: int) -> DispatchSettings:
    from headrace.eventing.dispatch import DispatchSettings
    from headrace.eventing.results import Responder
    from headrace.eventing.retry import RetryPolicy

    trigger = app.spec.trigger
    return DispatchSettings(
        identity=Responder(app.namespace, app.name, app.name, app.model_version),
        dead_letters=trigger.dead_letter_topic,
        results=app.result_topic,
        ordering=trigger.ordering,
        concurrency=concurrency,
        retry=RetryPolicy(
            attempts=trigger.retry.attempts,
            backoff=trigger.retry.backoff,
            delay=trigger.retry.delay.total_seconds(),
            max_delay=trigger.retry.max_delay.total_seconds(),
        ),
        cold_start=trigger.cold_start.total_seconds(),
    )
