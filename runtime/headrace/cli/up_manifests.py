"""``headrace up MANIFESTS``: Kubernetes manifests that somebody wrote, running on this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from headrace.cli.running import event_line, started, stopped_by_signals

if TYPE_CHECKING:
    from headrace.local.settings import TwinSettings
    from headrace.local.status import TwinEvent
    from headrace.local.twin import Twin


def up_manifests(
    manifests: Path, *, kafka: str | None, port: int, settings: TwinSettings, verbose: bool, reload: bool
) -> None:
    """Run them until Ctrl-C; what does not run, or does nothing, is named.

    Raises:
        ConfigurationError: they cannot be read, or have mistakes; every one is named.
    """
    from headrace.local.apps import topic_creator
    from headrace.local.manifest_files import read_resources
    from headrace.local.state import Home
    from headrace.local.twin import Twin

    twin = Twin(
        read_resources(manifests),
        home=Home.of().path,
        kafka=kafka,
        port=port,
        cwd=Path.cwd(),
        settings=settings,
        on_event=_tell,
        echo=_say if verbose else None,
        create_topics=topic_creator(kafka),
    )
    asyncio.run(_run(twin, manifests, reload=reload))


async def _run(twin: Twin, manifests: Path, *, reload: bool) -> None:
    from headrace.local.manifest_files import follow

    stop = stopped_by_signals()
    following = asyncio.ensure_future(follow(twin, manifests, _say)) if reload else None
    try:
        if await started(twin, stop):
            typer.echo(_welcome(twin))
            await stop.wait()
            _say("stopping")
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait([following])
        await twin.stop()


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _tell(event: TwinEvent) -> None:
    if line := event_line(event) or _ignored(event):
        _say(line)


def _ignored(event: TwinEvent) -> str:
    return f"does nothing here: {event.subject}: {event.detail}" if event.kind == "ignored" else ""


def _welcome(twin: Twin) -> str:
    port = twin.ingress_url.rpartition(":")[2]
    lines = [f"Kafka    {twin.kafka}", f"ingress  {twin.ingress_url}"]
    for route in twin.plan.routes:
        name = route.names[-1]
        lines.append(f"service  {name}: http://{name.name}.{name.namespace}.localhost:{port}")
    lines += [f"events   {each.kind} {each.name}: {twin.events_url}{each.path}" for each in twin.plan.ingresses]
    return "\n".join([*lines, "Ctrl-C stops it all."])
