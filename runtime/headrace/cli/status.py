"""``headrace status``: what the running twin does, or how the apps stand in a cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.cli.cluster import USUAL_FILE, ContextOption, KafkaOption, ProfileOption
from headrace.cli.target import OUTPUT_HELP, running_twin
from headrace.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from headrace.local.status import ServiceStatus, TwinStatus, WorkloadStatus


def status(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Show how the apps of a headrace.yaml stand in a cluster instead.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="The headrace.yaml with the apps [default: headrace.yaml].")
    ] = None,
    profile: ProfileOption = None,
    kafka: KafkaOption = None,
    context: ContextOption = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Show what the running `headrace up` does: services with their replicas, dispatchers, addresses.

    With --cluster: each app's revision, and how each of its resources stands there.
    """
    if cluster:
        from headrace.cli.cluster_status import cluster_status

        cluster_status(file or USUAL_FILE, profile, kafka, context, output)
        return
    _only_of_a_cluster({"--file": file, "--profile": profile, "--kafka": kafka, "--context": context})
    found = asyncio.run(fetch(running_twin().ingress))
    if output == "json":
        typer.echo(found.to_json().decode())
    else:
        _print(found)


def _only_of_a_cluster(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigurationError(f"{given[0]} says nothing about `headrace up`", hint="add --cluster to ask a cluster")


async def fetch(ingress: str) -> TwinStatus:
    """The status of the twin behind this ingress.

    Raises:
        UnavailableError: it does not answer.
    """
    import aiohttp

    from headrace.local.status import TwinStatus

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(ingress) as response,
        ):
            return TwinStatus.from_json(await response.read())
    except (aiohttp.ClientError, asyncio.TimeoutError) as fault:
        raise UnavailableError(f"The twin at {ingress} does not answer: {fault}") from fault


def _print(found: TwinStatus) -> None:
    from rich.table import Table
    from rich.text import Text

    from headrace.cli.console import wide_console

    table = Table(box=None, pad_edge=False)
    for name in ("what", "state", "in flight", "waiting", "last cold start", "note"):
        table.add_column(name)
    for row in (*map(_service_row, found.services), *map(_workload_row, found.workloads)):
        # Text, since rich takes words in square brackets for markup.
        table.add_row(*map(Text, row))
    console = wide_console()
    console.print(table)
    console.print(Text(f"Kafka {found.kafka} · ingress {found.ingress} · OTLP {found.otlp}"))


def _service_row(service: ServiceStatus) -> tuple[str, ...]:
    ready = sum(replica.state == "ready" for replica in service.replicas)
    state = f"{ready} of {service.desired} ready" if service.desired or service.replicas else "at zero"
    cold = f"{service.cold_start:.1f} s" if service.cold_start is not None else "-"
    return (
        f"{service.namespace}/{service.name}",
        state,
        str(service.in_flight),
        str(service.queued),
        cold,
        service.problem,
    )


def _workload_row(workload: WorkloadStatus) -> tuple[str, ...]:
    restarts = f"{workload.restarts} restarts" if workload.restarts else ""
    return (
        f"{workload.namespace}/{workload.name}",
        "paused" if workload.paused and workload.state == "running" else workload.state,
        "",
        "",
        "",
        "; ".join(filter(None, (restarts, workload.problem))),
    )
