"""``headrace doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.cli.cluster import (
    USUAL_FILE,
    ContextOption,
    ImageOption,
    KafkaOption,
    Planned,
    ProfileOption,
    on_cluster,
    planned,
)
from headrace.cli.target import OUTPUT_HELP

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.doctor.finding import Finding


def doctor(
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--file", help="The headrace.yaml with the apps [default: headrace.yaml where there is one]"
        ),
    ] = None,
    profile: ProfileOption = None,
    kafka: KafkaOption = None,
    image: ImageOption = None,
    context: ContextOption = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Look whether a cluster can run the apps: kinds, versions, settings, GPUs, Kafka, rights. Changes nothing.

    Exits with 1 where there is an error; each finding says how to mend it.
    """
    from headrace.manifests.cluster.doctor.examine import errors

    what = _asked(file, profile, kafka, image)
    findings = on_cluster(context, lambda api: _examined(api, what))
    if output == "json":
        import orjson

        typer.echo(orjson.dumps([each.to_json() for each in findings], option=orjson.OPT_INDENT_2).decode())
    else:
        _print(findings)
    if errors(findings):
        raise typer.Exit(1)


def _asked(file: Path | None, profile: str | None, kafka: str | None, image: str | None) -> Planned:
    from headrace.cli.render import render_options
    from headrace.manifests.cluster.plan import Plan

    if file is None and not USUAL_FILE.exists():
        return Planned([], render_options(kafka, image), Plan(()))
    return planned(file or USUAL_FILE, profile, kafka, image)


async def _examined(api: ClusterApi, what: Planned) -> list[Finding]:
    from headrace.manifests.cluster.doctor.examine import examine

    return await examine(api, what.plan, what.apps, what.options)


def _print(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from headrace.cli.console import wide_console

    table = Table(box=None, pad_edge=False)
    for name in ("", "about", "what", "fix"):
        table.add_column(name, overflow="fold")
    for each in findings:
        # Text, since rich takes words in square brackets for markup.
        table.add_row(*map(Text, (each.level, each.about, each.message, each.fix)))
    wide_console().print(table)
    counts = {level: sum(each.level == level for each in findings) for level in ("error", "warning")}
    typer.echo(", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items()))
