"""``headrace status --plot``: the replicas of each service over time, printed and drawn, each step with its numbers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import typer

from headrace.cli.status import read
from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.local.decisions import Decision


def print_and_draw(ingress: str, file: Path, output: Literal["table", "json"]) -> None:
    """Write ``file``, and print the same as lines, or the decisions as JSON.

    Raises:
        ConfigurationError: Pillow is missing, or the file is no PNG.
        UnavailableError: the twin does not answer, nothing was decided yet, or the file cannot be written.
    """
    from headrace.cli.plot import draw
    from headrace.local.decisions import from_json

    content = asyncio.run(read(f"{ingress}/decisions"))
    services = {name: found for name, found in from_json(content).items() if found}
    if not services:
        raise UnavailableError("No service was used yet: there is nothing to plot", hint="send it a request first")
    draw(services, file)
    if output == "json":
        typer.echo(content.decode())
        return
    for name, found in services.items():
        _print(name, found)
    typer.echo(f"drawn to {file}")


def _print(name: str, decisions: Sequence[Decision]) -> None:
    from headrace.local.curve import curve, steps, told

    typer.echo(name)
    for line in curve(decisions):
        typer.echo(line)
    for step in steps(decisions):
        typer.echo(told(step, decisions[0].time))
    typer.echo("")
