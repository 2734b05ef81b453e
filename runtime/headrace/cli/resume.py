"""``headrace resume``: a paused app or replay gets its events again."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.pause import check_app, run_pause_file
from headrace.cli.target import running_twin
from headrace.errors import UnavailableError
from headrace.local.state import Home


def resume(app: Annotated[str, typer.Argument(help="Name of the app, or id of a replay.")]) -> None:
    """Let an app, or a replay, have its events again after `headrace pause`, the oldest first."""
    of_run = run_pause_file(app)
    file = of_run or Home.of().pause_file(app)
    if not file.exists():  # also what a twin left that is down can be resumed
        if of_run is None:
            check_app(running_twin(), app)
        typer.echo(f"{app} was not paused")
        return
    try:
        file.unlink()
    except OSError as fault:
        raise UnavailableError(f"Cannot delete {file}: {fault.strerror}") from fault
    typer.echo(f"{app} goes on")
