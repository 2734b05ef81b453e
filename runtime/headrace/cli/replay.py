"""``headrace replay``: recorded events through a model once more."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from headrace.cli.app_topics import app_topics
from headrace.cli.diff import Gate, Html, compare_places
from headrace.cli.ranges import Expression, Group, Limit, Offsets, Sample, Since, Until
from headrace.cli.target import (
    KAFKA_HELP,
    OUTPUT_HELP,
    kafka_settings,
    person_looks_on,
    trace_this_command,
)
from headrace.errors import ConfigurationError, HeadraceError
from headrace.local.state import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.replay.log import Tally
    from headrace.eventing.replay.plan import Plan, Runs, ServedModel
    from headrace.eventing.replay.run import Outcome


def replay(
    topic: Annotated[str | None, typer.Option(help="Topic of events [default: the app's].")] = None,
    recording: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|DIR|s3://",
            help="CloudEvents as `headrace record` writes them, one a line or in .parquet, or a "
            ".json array of them; or a folder, whose files become events.",
        ),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            help="Of a folder's events: type=com.example.picture, partitionkey={folder}.",
            show_default=False,
        ),
    ] = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="What failed for good, in place of the app's events.")
    ] = False,
    app: Annotated[str | None, typer.Option(help="App of the running `headrace up` to send them to.")] = None,
    to: Annotated[str | None, typer.Option(metavar="URL", help="Where to send them instead.")] = None,
    predictor: Annotated[
        str | None, typer.Option("--class", metavar="MODULE:CLASS", help="A model class to start for this run alone.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="URI", help="Where the files of that model are.")] = None,
    transformer: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="A transformer class to start before that model.")
    ] = None,
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    group: Group = None,
    expression: Expression = None,
    sample: Sample = None,
    limit: Limit = None,
    results: Annotated[
        str | None,
        typer.Option(metavar="TOPIC|FILE", help="Where answers go; a file's name ends in .jsonl [default: nowhere]."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Let the answers go to a topic that a running app answers to.")
    ] = False,
    rate: Annotated[
        str | None, typer.Option(metavar="N/s", help="Events a second, or N/m [default: as it goes].")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Keep their timing: 1 as it was, 60 an hour in a minute.")
    ] = None,
    ordering: Annotated[Literal["key", "partition", "none"], typer.Option(help="What keeps its order.")] = "key",
    concurrency: Annotated[int, typer.Option(min=1, help="Most events under way at once.")] = 16,
    strict: Annotated[bool, typer.Option("--strict", help="End with the first event that fails for good.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the events, and send none.")] = False,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with a run that was broken off.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Compare with these answers at the end, as `headrace diff` does; `recorded` "
            "is the app's topic of results.",
        ),
    ] = None,
    gate: Gate = None,
    html: Html = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Send events of a topic or a recording through a model once more, and keep what it answers.

    The live consumer group is not touched, and answers go nowhere near the live results unless --live says so. Each
    event carries the run's id as hrreplay. A run that is broken off, by Ctrl-C or by anything else, goes on with
    --resume: nothing is left out, and nothing is answered twice.
    """
    from headrace.cli.replay_plan import Answers, Asked, Manner, Part, Target, new_plan
    from headrace.eventing.replay.plan import Runs

    runs = Runs(Home.of().path / "replays")
    settings = kafka_settings(kafka)
    compared = _Compared(against, gate, html, kafka)
    if resume is not None:
        plan = runs.find(resume)
        _run(plan, runs, settings, output, kept=True)
        compared.by(plan, app, output)
        return
    asked = Asked(
        Part(
            topic,
            app,
            dead_letters,
            recording,
            tuple(attribute or ()),
            since,
            until,
            offsets,
            group,
            expression,
            sample,
            limit,
        ),
        Target(app, to, _served(predictor, model, transformer), dry=dry_run),
        Answers(results, live=live),
        Manner(rate, speed, ordering, concurrency, strict=strict),
        settings,
    )
    compared.check(results)
    plan = new_plan(asked)
    if dry_run:
        _count(plan, settings, output)
        return
    _run(plan, runs, settings, output, kept=False)
    compared.by(plan, app, output)


@dataclass(frozen=True, slots=True)
class _Compared:
    """What is compared at the end of a run."""

    against: str | None
    gate: str | None
    html: Path | None
    kafka: str | None

    def check(self, results: str | None) -> None:
        """Refuse what cannot be compared, before a long run."""
        if self.against is None and (self.gate or self.html):
            raise ConfigurationError("--gate and --html are about a comparison", hint="say with what: --against PLACE")
        if self.against is not None and not results:
            raise ConfigurationError(
                "--against compares the answers of this run, and they go nowhere", hint="--results"
            )
        if self.gate:
            from headrace.eventing.comparison.gate import parse_gate

            parse_gate(self.gate)

    def by(self, plan: Plan, app: str | None, output: str) -> None:
        """Compare this run's answers."""
        if self.against is None:
            return
        before = (app_topics(app, None).results or "") if self.against == "recorded" else self.against
        after = plan.results_file or f"{plan.results_topic}@{plan.run}"
        compare_places(before, after, kafka=self.kafka, gate=self.gate, html=self.html, output=output)


def _count(plan: Plan, kafka: KafkaSettings, output: str) -> None:
    """Say what would be replayed."""
    chosen = plan.choice()
    read = taken = size = 0
    for record in plan.source(kafka).read({}):
        read += 1
        if chosen.takes(record):
            taken += 1
            size += len(record.value or b"")
    if output == "json":
        typer.echo(orjson.dumps({"read": read, "chosen": taken, "bytes": size}).decode())
    else:
        typer.echo(f"{taken} events would be replayed, {size:,} bytes, of {read} that are there")


def _run(plan: Plan, runs: Runs, kafka: KafkaSettings, output: str, *, kept: bool) -> None:
    if not kept:
        runs.keep(plan)
    to = plan.served.predictor if plan.served else plan.target
    typer.echo(f"run {plan.run}: {_from(plan)} to {to}", err=True)
    provider = trace_this_command("headrace-replay")
    began = time.monotonic()
    try:
        with _target(plan, runs.folder(plan.run)) as target:
            outcome = asyncio.run(_until_done(replace(plan, target=target), runs.folder(plan.run), kafka))
    except HeadraceError as fault:
        if fault.retriable:
            fault.hint = f"{fault.hint + '; ' if fault.hint else ''}go on with `headrace replay --resume {plan.run}`"
        raise
    finally:
        if provider:
            provider.shutdown()
    _tell(plan, runs.folder(plan.run), outcome, time.monotonic() - began, output)
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


def _served(predictor: str | None, model: str | None, transformer: str | None) -> ServedModel | None:
    from headrace.eventing.replay.plan import ServedModel

    if predictor is None:
        if model or transformer:
            raise ConfigurationError("--model and --transformer belong to a model class", hint="give it with --class")
        return None
    return ServedModel(predictor, model or "", transformer or "")


async def _until_done(plan: Plan, folder: Path, kafka: KafkaSettings) -> Outcome:
    from headrace.eventing.replay.run import run

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _progress(plan) as told:
        return await run(plan, folder, kafka, stop=stop, progress=told)


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[Tally], None]]:
    """A progress bar where a person looks on; offsets that hold nothing count as done at the end only."""
    if not person_looks_on():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = sum(part.end - part.begin for part in plan.ranges) or None
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s, {task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=total, rate=0.0, failed=0)
        began = time.monotonic()

        def tell(tally: Tally) -> None:
            rate = tally.done / max(time.monotonic() - began, 0.001)
            waiting = tally.chosen - tally.done
            bar.update(task, completed=max(0, tally.read - waiting), rate=rate, failed=tally.failed)

        yield tell


def _tell(plan: Plan, folder: Path, outcome: Outcome, seconds: float, output: str) -> None:
    tally = outcome.tally
    facts: dict[str, Any] = {
        "run": plan.run,
        "complete": outcome.complete,
        "read": tally.read,
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
    ending = "complete" if outcome.complete else f"not complete: go on with `headrace replay --resume {plan.run}`"
    typer.echo(f"run {plan.run}: {ending}")
    typer.echo(f"{tally.answered} answered, {tally.failed} failed, {facts['rate']} a second")
    if facts["results"]:
        typer.echo(f"answers in {facts['results']}")
    if facts["rejected"]:
        typer.echo(f"what failed is set aside in {facts['rejected']}")


def _rejected(plan: Plan) -> str:
    from headrace.eventing.replay.store import RunTopics

    return RunTopics.beside(plan.results_topic).rejected if plan.results_topic else ""


def _from(plan: Plan) -> str:
    return plan.recording or ", ".join(sorted({part.topic for part in plan.ranges}))
