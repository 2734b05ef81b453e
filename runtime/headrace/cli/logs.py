"""``headrace logs``: what the twin's processes wrote."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from headrace.errors import ConfigurationError
from headrace.local.state import Home


def logs(
    app: Annotated[str | None, typer.Argument(help="App whose processes to show [default: all].")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Last lines of each process.")] = 50,
) -> None:
    """Print the last lines that the twin's processes wrote: model servers, dispatcher, broker."""
    folder = Home.of().logs
    files = sorted(folder.glob("*.log")) if folder.is_dir() else []
    chosen = [file for file in files if app is None or app in file.stem]
    if not chosen:
        raise ConfigurationError(f"No logs{f' of {app}' if app else ''} in {folder}", hint="`headrace up` writes them")
    for file in chosen:
        _print(file, lines)


def _print(file: Path, lines: int) -> None:
    with file.open(encoding="utf-8", errors="replace") as content:
        last = deque(content, maxlen=lines)
    for line in last:
        typer.echo(line.rstrip())
