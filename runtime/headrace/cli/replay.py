"""``headrace replay``: recorded events through a model once more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.diff_terms import Absolute, As, Gate, Html, Prices, Relative, Size, SizeBefore, Terms
from headrace.cli.ranges import Expression, Group, Limit, Offsets, Sample, Since, Until
from headrace.cli.replay_against import Against, AgainstEnv, AgainstModel, Compared
from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings
from headrace.eventing.replay.plan import ANSWERS
from headrace.local.state import Home

if TYPE_CHECKING:
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.replay.plan import Plan, Runs


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
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A variable of that model's process.", show_default=False),
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
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Most events under way at once [default: 16, or two batches].")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Most events in one request [default: each in its own].")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with the first event that fails for good.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the events, and send none.")] = False,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with a run that was broken off.")] = None,
    against: Against = None,
    against_model: AgainstModel = None,
    against_env: AgainstEnv = None,
    rule: As = "auto",
    absolute: Absolute = 1e-6,
    relative: Relative = 1e-4,
    prices: Prices = None,
    size: Size = None,
    against_size: SizeBefore = None,
    gate: Gate = None,
    html: Html = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Send events of a topic or a recording through a model once more, and keep what it answers.

    The live consumer group is not touched, and answers go nowhere near the live results unless --live says so. Each
    event carries the run's id as hrreplay. A run that is broken off, by Ctrl-C or by anything else, goes on with
    --resume: nothing is left out, and nothing is answered twice.
    """
    from headrace.cli.replay_plan import Answers, Asked, Manner, Part, Target, new_plan, served
    from headrace.eventing.replay.plan import Runs

    runs = Runs(Home.of().path / "replays")
    settings = kafka_settings(kafka)
    terms = Terms(rule, absolute, relative, gate=gate, html=html, prices=prices, size=size, size_before=against_size)
    compared = Compared(against, terms, kafka)
    if resume is not None:
        _play(runs.find(resume), runs, settings, compared, app, output)
        return
    model_class = served(predictor, model, transformer, env)
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
        Target(app, to, model_class, compared.rival(model_class, against_model, against_env), dry=dry_run),
        Answers(results, live=live),
        Manner(rate, speed, ordering, concurrency, batch, strict=strict),
        settings,
    )
    compared.check()
    plan = new_plan(asked)
    if dry_run:
        _count(plan, settings, output)
        return
    if against and not results:
        plan = replace(plan, results_file=str(runs.folder(plan.run) / ANSWERS))
    runs.keep(plan)
    _play(plan, runs, settings, compared, app, output)


def _play(plan: Plan, runs: Runs, kafka: KafkaSettings, compared: Compared, app: str | None, output: str) -> None:
    """The run, that of its rival, and the comparison."""
    from headrace.cli.replay_run import play

    folder = runs.folder(plan.run)
    play(plan, folder, kafka, output)
    if plan.rival:
        beside = folder / "against"
        beside.mkdir(exist_ok=True)
        play(plan.of_rival(folder), beside, kafka, output)
    compared.by(plan, folder, app, output)


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
