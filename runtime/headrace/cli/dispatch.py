"""``headrace dispatch``: what the dispatcher's container runs."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.target import KAFKA_HELP, kafka_settings
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.batches import BatchLimits
    from headrace.eventing.dispatch import DispatchSettings
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.metrics import DispatchMetrics
    from headrace.manifests.parts.delivery import Batch
    from headrace.manifests.spec import InferenceApp

FEWEST_REQUESTS = 16
BATCHES_A_REPLICA = 2
"""One that is worked on, and one that is there when it is done."""


def dispatch(
    file: Annotated[Path, typer.Option("--file", "-f", help="The headrace.yaml with the app.")],
    app: Annotated[str, typer.Option(help="Name of the app in it.")],
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    sink: Annotated[str | None, typer.Option(help="URL that events are posted to [default: $K_SINK].")] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most events under way at once [default: from scale and batch, see docs/delivery.md]."
        ),
    ] = None,
) -> None:
    """Deliver a topic's events to an app's model, and its answers to Kafka, until SIGTERM or Ctrl-C.

    Reads K_SINK (where to deliver), HEADRACE_WAKE (comma-separated base URLs whose readiness is asked before the
    first delivery, so that a chain that is scaled to zero starts at once), POD_NAME (names this member),
    HEADRACE_METRICS_PORT (serves metrics for Prometheus there) and HEADRACE_PAUSE_FILE (while this file is there,
    nothing new is delivered).
    """
    from headrace.manifests.loading import load_apps

    chosen = _choose(load_apps(file), app, file)
    url = sink or os.environ.get("K_SINK")
    if not url:
        raise ConfigurationError("No sink to deliver to", hint="set K_SINK, or give --sink URL")
    from headrace.telemetry.logs import configure_logs

    configure_logs()
    asyncio.run(_run(chosen, kafka_settings(kafka), url, concurrency))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many events are under way at once."""

    begin: int
    """At the start."""
    most: int
    replica: int | None
    """What one replica takes; None where their number does not count."""


def bounds(app: InferenceApp) -> Bounds:
    """What the app's file says of it.

    At most: what all replicas of the component that gets the events want at once, as requests, since that is what an
    autoscaler counts; fewer than 16 would not fill one batch of the model. Where a request holds a batch, the start is
    what one replica can use. With one replica at most there is no autoscaler to show more to.
    """
    from headrace.eventing.replicas import PER_REPLICA
    from headrace.manifests.containers import transformer_apart

    apart = app.spec.transformer if transformer_apart(app) else None
    scale = (apart or app.spec.predictor).scale
    requests = max(FEWEST_REQUESTS, scale.target * scale.max)
    takes = max(FEWEST_REQUESTS // PER_REPLICA, scale.target)
    if (batch := app.spec.trigger.batch) is None:
        return Bounds(requests, requests, takes)
    begin = max(requests, BATCHES_A_REPLICA * batch.size)
    return Bounds(begin, begin if scale.max == 1 else max(begin, requests * batch.size), takes * batch.size)


def _choose(apps: list[InferenceApp], name: str, file: Path) -> InferenceApp:
    for app in apps:
        if app.name == name:
            return app
    known = ", ".join(app.name for app in apps)
    raise ConfigurationError(f"{file} has no app {name!r}", hint=f"it has {known}")


async def _run(app: InferenceApp, kafka: KafkaSettings, url: str, concurrency: int | None) -> None:
    from headrace.eventing.dispatch import Dispatcher
    from headrace.eventing.http_sink import HttpSink
    from headrace.eventing.kafka.member import KafkaMember
    from headrace.telemetry import tracing

    provider = tracing.configure(f"{app.name}-dispatcher")
    settings = _settings(app, concurrency)
    wake = tuple(base for base in os.environ.get("HEADRACE_WAKE", "").split(",") if base)
    sink = HttpSink(url, wake=wake, timeout=app.spec.trigger.timeout.total_seconds(), connections=settings.concurrency)
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
    dispatcher = Dispatcher(member, sink, settings, paused=_pause_switch(app))
    end_metrics = _show_metrics(app, dispatcher.metrics)
    typer.echo(f"dispatching {app.spec.trigger.topic} of {kafka.bootstrap} to {url}")
    try:
        await dispatcher.run(stop)
    finally:
        end_metrics()
        await sink.close()
        if provider:
            provider.shutdown()


def _pause_switch(app: InferenceApp) -> Callable[[], bool]:
    """Whether the file is there that pauses the app: the one that is named, else that of `headrace pause`."""
    from headrace.local.state import HOME_VARIABLE, Home

    named = os.environ.get("HEADRACE_PAUSE_FILE")
    if not named and not os.environ.get(HOME_VARIABLE):
        return lambda: False  # a pod has no home; KEDA pauses it
    file = Path(named) if named else Home.of().pause_file(app.name)

    def is_there() -> bool:
        try:
            return file.exists()
        except OSError:  # not to be looked at: nobody has put it there for us
            return False

    return is_there


def _batch_limits(batch: Batch | None) -> BatchLimits | None:
    from headrace.eventing.batches import BatchLimits

    return BatchLimits(batch.size, batch.delay.total_seconds(), batch.bytes) if batch else None


def _show_metrics(app: InferenceApp, metrics: DispatchMetrics) -> Callable[[], None]:
    """Serve them where a port is named, and send them where a collector is; how both are ended."""
    from headrace.telemetry.metrics.exposition import PORT_VARIABLE, port_of
    from headrace.telemetry.metrics.otlp import send_metrics

    port = port_of(os.environ.get(PORT_VARIABLE, ""))
    sending = send_metrics(f"{app.name}-dispatcher", metrics.all)
    if port is None:
        return sending
    serving = metrics.serve(port, os.environ.get("HEADRACE_HOST", "0.0.0.0"))  # noqa: S104  # the pod's own network

    def end() -> None:
        serving()
        sending()

    return end


def _settings(app: InferenceApp, concurrency: int | None) -> DispatchSettings:
    from headrace.eventing.dispatch import DispatchSettings
    from headrace.eventing.rate import RateLimit
    from headrace.eventing.results import Responder
    from headrace.eventing.retry import RetryPolicy
    from headrace.manifests.parts.filters import event_filter

    trigger = app.spec.trigger
    bound = Bounds(concurrency, concurrency, None) if concurrency else bounds(app)
    return DispatchSettings(
        identity=Responder(app.namespace, app.name, app.name, app.model_version),
        dead_letters=trigger.dead_letter_topic,
        results=app.result_topic,
        ordering=trigger.ordering,
        concurrency=bound.most,
        begin=bound.begin,
        replica=bound.replica,
        retry=RetryPolicy(
            attempts=trigger.retry.attempts,
            backoff=trigger.retry.backoff,
            delay=trigger.retry.delay.total_seconds(),
            max_delay=trigger.retry.max_delay.total_seconds(),
        ),
        cold_start=trigger.cold_start.total_seconds(),
        batch=_batch_limits(trigger.batch),
        rate=RateLimit(limit.rate, limit.burst, trigger.partitions) if (limit := trigger.rate_limit) else None,
        wanted=event_filter(trigger.filter, trigger.filters),
        group=app.consumer_group,
    )
