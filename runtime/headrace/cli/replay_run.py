"""One life of a run on the command line: what is started for it, its progress, its summary."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import typer

from headrace.cli.target import person_looks_on, trace_this_command
from headrace.errors import HeadraceError, TakenOverError
from headrace.eventing.replay.plan import RIVAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.replay.log import Tally
    from headrace.eventing.replay.plan import Plan
    from headrace.eventing.replay.run import Outcome

PAUSED = "paused"
"""In a run's folder: the file that is there while it is paused."""


def play(plan: Plan, folder: Path, kafka: KafkaSettings, output: str) -> None:
    """Run until all is done, and tell; exits with 1 where it was broken off.

    Args:
        plan: What to do.
        folder: The run's own, which is there.
        kafka: The cluster.
        output: ``table`` or ``json``.

    Raises:
        HeadraceError: as :func:`headrace.eventing.replay.run.run`, with how to go on.
    """
    typer.echo(f"run {plan.run}: {_from(plan)} to {_to(plan)}", err=True)
    provider = trace_this_command("headrace-replay")
    began = time.monotonic()
    try:
        with _target(plan, folder) as target:
            outcome = asyncio.run(_until_done(replace(plan, target=target), folder, kafka))
    except HeadraceError as fault:
        if fault.retriable or isinstance(fault, TakenOverError):
            fault.hint = f"{fault.hint + '; ' if fault.hint else ''}go on with {_resume(plan)}"
        raise
    finally:
        if provider:
            provider.shutdown()
    _tell(plan, folder, outcome, time.monotonic() - began, output)
    if not outcome.complete:
        raise typer.Exit(1)


@contextmanager
def _target(plan: Plan, folder: Path) -> Iterator[str]:
    if not plan.served:
        yield plan.target
        return
    from headrace.cli.replay_server import served

    with served(plan.served, folder) as url:
        yield url


async def _until_done(plan: Plan, folder: Path, kafka: KafkaSettings) -> Outcome:
    from headrace.eventing.replay.run import run

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pause_file = folder / PAUSED
    with _progress(plan, kafka, pause_file.exists) as told:
        return await run(plan, folder, kafka, stop=stop, progress=told, paused=pause_file.exists)


@contextmanager
def _progress(plan: Plan, kafka: KafkaSettings, paused: Callable[[], bool]) -> Iterator[Callable[[Tally], None]]:
    """A progress bar where a person looks on; offsets that hold nothing count as done at the end only."""
    if not person_looks_on():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = plan.source(kafka).total()
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s, {task.fields[failed]} failed{task.fields[pause]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=total, rate=0.0, failed=0, pause="")
        began = time.monotonic()

        def tell(tally: Tally) -> None:
            rate = tally.done / max(time.monotonic() - began, 0.001)
            waiting = tally.chosen - tally.done
            seen = max(0, tally.read - waiting)
            bar.update(task, completed=seen, rate=rate, failed=tally.failed, pause=", paused" if paused() else "")

        yield tell


def _tell(plan: Plan, folder: Path, outcome: Outcome, seconds: float, output: str) -> None:
    tally = outcome.tally
    facts: dict[str, Any] = {
        "run": plan.run,
        "complete": outcome.complete,
        "read": tally.read,
        "empty": tally.empty,
        "replayed": tally.chosen,
        "answered": tally.answered,
        "failed": tally.failed,
        "seconds": round(seconds, 3),
        "rate": round(tally.done / seconds, 1) if seconds else 0.0,
        "results": plan.results_topic or plan.results_file or None,
        "rejected": (_rejected(plan) or str(folder / "rejected.jsonl")) if tally.rejected else None,
    }
    if output == "json":
        typer.echo(orjson.dumps(facts).decode())
        return
    ending = "complete" if outcome.complete else f"not complete: go on with {_resume(plan)}"
    typer.echo(f"run {plan.run}: {ending}")
    typer.echo(f"{tally.answered} answered, {tally.failed} failed, {facts['rate']} a second")
    if plan.compacted and tally.empty:
        typer.echo(removed(tally.empty))
    if facts["results"]:
        typer.echo(f"answers in {facts['results']}")
    if facts["rejected"]:
        typer.echo(f"what failed is set aside in {facts['rejected']}")


def removed(offsets: int) -> str:
    """What is said of offsets of a compacted topic at which no record is."""
    return f"{offsets} offsets of the range have no event: compaction has removed it, or it was a transaction's marker"


def _rejected(plan: Plan) -> str:
    from headrace.eventing.replay.store import RunTopics

    return RunTopics.beside(plan.results_topic).rejected if plan.results_topic else ""


def _resume(plan: Plan) -> str:
    return f"`headrace replay --resume {plan.run.removesuffix(RIVAL)}`"


def _to(plan: Plan) -> str:
    return plan.served.predictor if plan.served else plan.target


def _from(plan: Plan) -> str:
    return plan.recording or ", ".join(sorted({part.topic for part in plan.ranges}))
