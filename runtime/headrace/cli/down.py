"""``headrace down``: end the running twin."""

from __future__ import annotations

import contextlib

import psutil
import typer

from headrace.cli.target import running_twin
from headrace.errors import UnavailableError

PATIENCE = 60.0
"""Seconds that a twin may take to drain."""


def down() -> None:
    """Stop the running `headrace up` as Ctrl-C does: finish what is in flight, commit it, end all processes."""
    found = running_twin()
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(found.pid)
        process.terminate()
        try:
            process.wait(PATIENCE)
        except psutil.TimeoutExpired as fault:
            raise UnavailableError(
                f"Process {found.pid} has not stopped within {PATIENCE:g} s", hint=f"`kill -9 {found.pid}` ends it"
            ) from fault
    typer.echo(f"stopped {', '.join(app.name for app in found.apps)}")
