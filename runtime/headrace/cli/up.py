"""``headrace up``: the apps of a file, running on this machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def up(
    manifests: Annotated[
        Path | None,
        typer.Argument(
            help="A folder or file of Kubernetes manifests to run as they are, in place of a headrace.yaml."
        ),
    ] = None,
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
    most: Annotated[
        int | None, typer.Option("--max-replicas", min=1, help="Most replicas of one service [default: one a core].")
    ] = None,
    scale_dispatchers: Annotated[
        bool, typer.Option(help="Let dispatchers come and go by KEDA's lag rule; else one is always up.")
    ] = False,
    template: Annotated[
        bool,
        typer.Option(help="Fork replicas from a process that has imported the model's code; else each imports it."),
    ] = True,
    reload: Annotated[
        bool,
        typer.Option(
            help="Follow changes of the headrace.yaml and of the Python files beside it; of MANIFESTS, annotations."
        ),
    ] = True,
    live: Annotated[
        bool | None,
        typer.Option(
            "--live/--plain",
            help="A table at the foot of the terminal, or lines alone [default: by terminal; MANIFESTS: lines].",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also print what the processes write.")] = False,
) -> None:
    """Run the apps of a headrace.yaml, or Kubernetes manifests, on this machine until Ctrl-C.

    Renders the manifests of the apps and runs those, or those given: an embedded Kafka broker, an HTTP ingress, the
    dispatcher, and model servers that start with the first event and go again when none comes. No cluster, no Docker.
    """
    from headrace.cli.up_run import Up, UpOptions, somebody_looks_on
    from headrace.local.settings import DEFAULTS
    from headrace.local.state import Home
    from headrace.manifests.loading import load_apps

    settings = replace(DEFAULTS, kafka_port=kafka_port, templates=template, scale_dispatchers=scale_dispatchers)
    if most:
        settings = replace(settings, replica_limit=most)
    if manifests:
        from headrace.cli.up_manifests import up_manifests

        up_manifests(manifests, kafka=kafka, port=port, settings=settings, verbose=verbose, reload=reload)
        return
    options = UpOptions(
        file=file,
        home=Home.of().path,
        kafka=kafka,
        port=port,
        settings=settings,
        verbose=verbose,
        reload=reload,
        live=somebody_looks_on() if live is None else live,
    )
    asyncio.run(Up(options, load_apps(file)).run())
