"""``headrace pause``: an app, or a replay, gets no further events until ``headrace resume``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.target import running_twin
from headrace.errors import ConfigurationError, UnavailableError
from headrace.local.state import Home

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.local.state import State


def pause(app: Annotated[str, typer.Argument(help="Name of the app, or id of a replay.")]) -> None:
    """Hold back an app's or a replay's events until `headrace resume`, also over restarts of `headrace up`.

    What is under way is finished and committed; everything else waits in Kafka. On a cluster KEDA does it:
    docs/delivery.md.
    """
    file = run_pause_file(app)
    if file is None:
        check_app(running_twin(), app)
        file = Home.of().pause_file(app)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as fault:
        raise UnavailableError(f"Cannot write {file}: {fault.strerror}") from fault
    typer.echo(f"{app} is paused: its events wait; `headrace resume {app}` goes on")


def run_pause_file(name: str) -> Path | None:
    """The file that is there while the replay of this id is paused; None where there is no such replay."""
    from headrace.cli.replay_run import PAUSED

    folder = Home.of().path / "replays" / name
    return folder / PAUSED if (folder / "plan.json").exists() else None


def check_app(state: State, name: str) -> None:
    """Make sure that the running twin has this app.

    Raises:
        ConfigurationError: it has not.
    """
    known = [app.name for app in state.apps]
    if name not in known:
        raise ConfigurationError(f"No app {name!r} is up", hint=f"up are {', '.join(known)}")
