"""``headrace status``: what the running twin does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.cli.target import OUTPUT_HELP, running_twin
from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from headrace.local.status import ServiceStatus, TwinStatus, WorkloadStatus


def status(output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table") -> None:
    """Show what the running `headrace up` does: services with their replicas, dispatchers, addresses."""
    found = asyncio.run(fetch(running_twin().ingress))
    if output == "json":
        typer.echo(found.to_json().decode())
    else:
        _print(found)


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

    from headrace.cli.console import wide_console

    table = Table(box=None, pad_edge=False)
    for name in ("what", "state", "in flight", "waiting", "last cold start", "note"):
        table.add_column(name)
    for service in found.services:
        table.add_row(*_service_row(service))
    for workload in found.workloads:
        table.add_row(*_workload_row(workload))
    console = wide_console()
    console.print(table)
    console.print(f"Kafka {found.kafka} · ingress {found.ingress} · OTLP {found.otlp}")


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
        workload.state,
        "",
        "",
        "",
        "; ".join(filter(None, (restarts, workload.problem))),
    )
