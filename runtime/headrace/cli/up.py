"""``headrace up``: the apps of a file, running on this machine."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.local.twin import Twin
    from headrace.manifests.spec import InferenceApp


def up(
    file: Annotated[Path, typer.Option("--file", "-f", help="The headrace.yaml with the apps.")] = Path(
        "headrace.yaml"
    ),
    kafka: Annotated[
        str | None, typer.Option(help="HOST:PORT of a broker of yours [default: the embedded one].")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the HTTP ingress; 0 takes a free one.")] = 8080,
    kafka_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the embedded broker; 0 takes a free one.")
    ] = 9092,
    template: Annotated[
        bool,
        typer.Option(help="Fork replicas from a process that has imported the model's code; else each imports it."),
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also print what the processes write.")] = False,
) -> None:
    """Run the apps of a headrace.yaml on this machine until Ctrl-C.

    Renders the Kubernetes manifests and runs those: an embedded Kafka broker, an HTTP ingress, the dispatcher, and
    model servers that start with the first event and go again when none comes. No cluster, no Docker.
    """
    from headrace.cli.running import event_line
    from headrace.local.apps import twin_of
    from headrace.local.settings import DEFAULTS
    from headrace.local.state import Home
    from headrace.manifests.loading import load_apps

    apps = load_apps(file)
    twin = twin_of(
        apps,
        home=Home.of().path,
        folder=file.absolute().parent,
        kafka=kafka,
        port=port,
        settings=replace(DEFAULTS, kafka_port=kafka_port, templates=template),
        on_event=lambda event: typer.echo(line, err=True) if (line := event_line(event)) else None,
        echo=(lambda line: typer.echo(line, err=True)) if verbose else None,
    )
    asyncio.run(_run(twin, apps))


async def _run(twin: Twin, apps: list[InferenceApp]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starting = asyncio.ensure_future(twin.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        typer.echo(_welcome(twin, apps))
        await stopping
        typer.echo("stopping", err=True)
    finally:
        stopping.cancel()
        await twin.stop()


def _welcome(twin: Twin, apps: list[InferenceApp]) -> str:
    lines = [f"Kafka    {twin.kafka}", f"ingress  {twin.ingress_url}"]
    for app in apps:
        host = f"http://{app.name}.{app.namespace}.localhost:{twin.ingress_url.rpartition(':')[2].rstrip('/')}"
        answers = f" -> {app.result_topic}" if app.result_topic else ""
        lines.append(f"app      {app.name}: {app.spec.trigger.topic}{answers}, {host}")
        if twin.home.pause_file(app.name).exists():
            lines.append(f"paused   {app.name}: its events wait until `headrace resume {app.name}`")
    return "\n".join([*lines, "Ctrl-C stops it all."])
