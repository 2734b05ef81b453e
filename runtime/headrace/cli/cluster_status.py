"""How ``headrace status --cluster`` shows the apps of a file in a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from headrace.cli.cluster import on_cluster, planned

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.manifests.cluster.status import AppStatus


def cluster_status(file: Path, profile: str | None, kafka: str | None, context: str | None, output: str) -> None:
    """Print how the apps of a file stand: their revision, and each resource that is waited for.

    Raises:
        HeadraceError: the cluster or the file cannot be read.
    """
    from headrace.manifests.cluster.status import cluster_status as ask

    what = planned(file, profile, kafka, None)
    found = on_cluster(context, lambda api: ask(api, what.plan))
    if output == "json":
        import orjson

        typer.echo(orjson.dumps([each.to_json() for each in found], option=orjson.OPT_INDENT_2).decode())
        return
    for each in found:
        _print(each)


def _print(app: AppStatus) -> None:
    from rich.table import Table
    from rich.text import Text

    from headrace.cli.console import wide_console

    at = f"revision {app.revision}, {app.revision_state}, {app.revision_time}" if app.revision else "never deployed"
    typer.echo(f"{app.namespace}/{app.name}: {at}")
    table = Table(box=None, pad_edge=False)
    for name in ("what", "state", "detail", "reason"):
        table.add_column(name, overflow="fold")
    for each in app.resources:
        # Text, since rich takes words in square brackets for markup.
        table.add_row(*map(Text, (str(each.reference), each.state, each.detail, each.reason)))
    wide_console().print(table)
