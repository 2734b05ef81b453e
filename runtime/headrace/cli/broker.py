"""``headrace broker``: the embedded Kafka broker alone."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.local.broker import EmbeddedBroker


def broker(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 9092,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the logs. [default: $HEADRACE_HOME/kafka, else ~/.local/state/headrace/kafka]",
            file_okay=False,
        ),
    ] = None,
    flush: Annotated[
        bool, typer.Option("--flush", help="Sync to disk before every acknowledgement: safe against power cuts, slow.")
    ] = False,
) -> None:
    """Run a Kafka broker on this machine until it is interrupted.

    It serves loopback only, keeps everything that it has acknowledged over restarts, and removes nothing on its own.
    """
    from headrace.local.broker import BrokerSettings, run

    folder = data if data is not None else default_data()
    logging.basicConfig(format="%(levelname)s %(message)s")

    def ready(running: EmbeddedBroker) -> None:
        typer.echo(f"Kafka on {running.bootstrap}, data in {folder}")

    run(folder, port=port, on_ready=ready, settings=BrokerSettings(flush=flush))


def default_data() -> Path:
    """Where the broker keeps its logs when nobody says otherwise."""
    home = os.environ.get("HEADRACE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state" / "headrace") / "kafka"
