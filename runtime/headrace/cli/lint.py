"""``headrace lint``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.cli.target import OUTPUT_HELP

if TYPE_CHECKING:
    from headrace.manifests.lint.engine import Report


def lint(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.", metavar="PATH...")],
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Find what is wrong with Kubernetes manifests: schemas, and what webhooks let through or refuse late.

    Any manifests, those of others too, and headrace.yaml. Exit code 1 where something is an error, 2 where a path
    cannot be read.
    """
    from headrace.manifests.lint.engine import lint as lint_paths

    found = lint_paths(paths)
    if output == "json":
        _print_json(found)
    else:
        _print(found)
    if found.errors:
        raise typer.Exit(1)


def _print_json(found: Report) -> None:
    from dataclasses import asdict

    import orjson

    typer.echo(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode())


def _print(found: Report) -> None:
    for each in found.findings:
        value = f" = {each.value}" if each.value and each.value not in each.why else ""
        place = " ".join(part for part in (each.resource, f"{each.path}{value}") if part)
        typer.echo(f"{each.file}:{each.line}: {each.severity}: {place}{': ' if place else ''}{each.why}")
        typer.echo(f"    {each.remedy[0].lower()}{each.remedy[1:]}  [{each.rule}]")
    for kind, count in found.unchecked.items():
        typer.echo(f"note: {_count(count, 'resource')} of {kind}: no schema here, only the general rules", err=True)
    summary = f"{_count(found.errors, 'error')}, {_count(found.warnings, 'warning')}"
    typer.echo(f"{_count(found.resources, 'resource')} in {_count(found.files, 'file')}: {summary}", err=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
