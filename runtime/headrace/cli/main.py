"""``headrace``: the table of commands, and the one place where an error becomes an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. A mistake of the user's prints its message and a hint on
standard error, never a traceback.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.errors import ConfigurationError, HeadraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: dict[str, str] = {
    "demo": "The main job on real pictures: from zero replicas to labels, and back to zero.",
    "init": "Begin a new project: headrace.yaml, classes of your own, tests.",
    "up": "Run the apps of a headrace.yaml on this machine until Ctrl-C.",
    "publish": "Publish files as CloudEvents to a Kafka topic, one event a file.",
    "results": "Print the results of a topic, live with --follow.",
    "dead-letters": "Events that failed for good: list, send back, or drop them.",
    "audit": "Compare events with their results: lost, late, or twice?",
    "record": "Keep a range of a topic as a file of CloudEvents.",
    "replay": "Send recorded events through a model once more, and keep what it answers.",
    "diff": "Compare two sets of answers to the same events: what changed, and is it allowed?",
    "trace": "Print the trace of an event as a tree with durations.",
    "usage": "Add up who used how much of the replicas, and what it cost.",
    "down": "Stop the running `headrace up`.",
    "pause": "Hold back an app's or a replay's events until `headrace resume`.",
    "resume": "Let a paused app or replay have its events again.",
    "logs": "Print what the processes of `headrace up` wrote.",
    "status": "Show what the running `headrace up` does, or with --cluster how the apps stand in a cluster.",
    "render": "Print the Kubernetes manifests of a headrace.yaml.",
    "lint": "Find what is wrong with Kubernetes manifests, ours or any.",
    "doctor": "Look whether a cluster can run the apps of a headrace.yaml.",
    "deploy": "Deploy the apps of a headrace.yaml to a cluster, and wait until they work.",
    "rollback": "Deploy an earlier revision of an app again.",
    "delete": "Delete the apps of a headrace.yaml from a cluster.",
    "schema": "Print the JSON Schema of headrace.yaml, for editors.",
    "models": "Models that were fetched and are kept here: list them, fetch one, or make room.",
    "serve": "Serve model classes over HTTP and gRPC: what an InferenceService's containers run.",
    "dispatch": "Deliver a topic's events to an app and its answers to Kafka: what the dispatcher runs.",
    "broker": "Run the embedded Kafka broker alone.",
}
"""Every command in the order of ``--help``, with its line there. Command NAME is the function NAME of the module
``headrace.cli.NAME`` (with ``_`` for ``-``), or a typer program there for a command that has commands of its own;
imported only when it is called, so that ``--help`` and quick commands stay quick."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit the process with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        called = _called(words)
        _app(called)(_understood(words) if called == "serve" else words, prog_name="headrace")
    except ConfigurationError as fault:
        _die(fault, 2)
    except HeadraceError as fault:
        _die(fault, 1)
    except BrokenPipeError:
        # The reader went away (`| head`): point stdout at nothing, or Python complains while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _called(words: Sequence[str]) -> str | None:
    return next((word for word in words if word in COMMANDS), None) if words else None


def _understood(words: Sequence[str]) -> list[str]:
    from headrace.cli import kserve_flags

    return kserve_flags.applied(words)


def _app(called: str | None) -> typer.Typer:
    """The program with the called command loaded, and the others known by name and help line alone."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Event-driven serverless inference: CloudEvents in Kafka to models and back.",
    )
    app.callback()(_options)
    for name, line in COMMANDS.items():
        command = _load(name) if name == called else _named_only
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, short_help=line)
        else:
            app.command(name, short_help=line)(command)
    return app


def _load(name: str) -> Callable[..., None] | typer.Typer:
    module = name.replace("-", "_")
    command: Callable[..., None] | typer.Typer = getattr(import_module(f"headrace.cli.{module}"), module)
    return command


def _named_only() -> None:
    """Stands in the list of commands; never called, since a called command is loaded."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"headrace {metadata.version('headrace')}")
        raise typer.Exit


def _options(
    version: Annotated[  # typer reads the declaration; the callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _die(fault: HeadraceError, code: int) -> None:
    typer.echo(f"headrace: {fault}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
