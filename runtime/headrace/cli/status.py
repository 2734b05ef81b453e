"""``headrace status``: what the running twin does, or how the apps stand in a cluster."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.cluster import USUAL_FILE, ContextOption, KafkaOption, ProfileOption
from headrace.cli.target import OUTPUT_HELP, running_twin
from headrace.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.cold_starts import ColdStart
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
    plot: Annotated[
        Path | None,
        typer.Option(help="Print the replicas over time with the autoscaler's reasons, and draw them to this PNG."),
    ] = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Show what the running `headrace up` does: services with their replicas, dispatchers, addresses.

    With --plot: how many replicas each service had since it was last used, and by which numbers of the autoscaler.
    With --cluster: each app's revision, and how each of its resources stands there.
    """
    if cluster:
        from headrace.cli.cluster_status import cluster_status

        cluster_status(file or USUAL_FILE, profile, kafka, context, output)
        return
    _only_of_a_cluster({"--file": file, "--profile": profile, "--kafka": kafka, "--context": context})
    twin = running_twin()
    if plot:
        from headrace.cli.status_plot import print_and_draw

        print_and_draw(twin.ingress, plot, output)
        return
    found, colds = asyncio.run(fetch(twin.ingress)), _cold_starts(Path(twin.traces))
    if output == "json":
        document = {**asdict(found), "cold_starts": [asdict(cold) for cold in colds.values()]}
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(found, colds)


def _only_of_a_cluster(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigurationError(f"{given[0]} says nothing about `headrace up`", hint="add --cluster to ask a cluster")


async def fetch(ingress: str) -> TwinStatus:
    """The status of the twin behind this ingress.

    Raises:
        UnavailableError: it does not answer.
    """
    from headrace.local.status import TwinStatus

    return TwinStatus.from_json(await read(ingress))


async def read(url: str) -> bytes:
    """What the twin answers there.

    Raises:
        UnavailableError: it does not answer.
    """
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url) as response,
        ):
            return await response.read()
    except (aiohttp.ClientError, asyncio.TimeoutError) as fault:
        raise UnavailableError(f"The twin at {url} does not answer: {fault}") from fault


def _cold_starts(traces: Path) -> dict[str, ColdStart]:
    """By service; none where the twin records no traces."""
    from headrace.local.cold_starts import last_cold_starts
    from headrace.local.trace_store import TraceStore

    if not traces.is_file():
        return {}
    with closing(TraceStore.read(traces)) as store:
        return last_cold_starts(store)


def _print(found: TwinStatus, colds: Mapping[str, ColdStart]) -> None:
    from rich.table import Table
    from rich.text import Text

    from headrace.cli.console import wide_console

    table = Table(box=None, pad_edge=False)
    for name in ("what", "state", "in flight", "waiting", "last cold start", "note"):
        table.add_column(name)
    for row in (*(_service_row(service, colds) for service in found.services), *map(_workload_row, found.workloads)):
        # Text, since rich takes words in square brackets for markup.
        table.add_row(*map(Text, row))
    console = wide_console()
    console.print(table)
    console.print(Text(f"Kafka {found.kafka} · ingress {found.ingress} · OTLP {found.otlp} (gRPC {found.otlp_rpc})"))


def _service_row(service: ServiceStatus, colds: Mapping[str, ColdStart]) -> tuple[str, ...]:
    ready = sum(replica.state == "ready" for replica in service.replicas)
    state = f"{ready} of {service.desired} ready" if service.desired or service.replicas else "at zero"
    cold = f"{service.cold_start:.1f} s" if service.cold_start is not None else "-"
    if known := colds.get(f"{service.namespace}/{service.name}"):
        cold = f"{known.seconds:.1f} s: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in known.phases)
    return (
        f"{service.namespace}/{service.name}",
        state,
        str(service.in_flight),
        str(service.queued),
        cold,
        service.problem or service.why,
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
