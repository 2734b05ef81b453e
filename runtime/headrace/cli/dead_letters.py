"""``headrace dead-letters``: what failed for good, and what becomes of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.app_topics import app_topics, topic_named
from headrace.cli.moments import moment, rate
from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings, person_looks_on, trace_this_command
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.eventing.deadletters.handled import Mark
    from headrace.eventing.deadletters.handling import Order, Summary
    from headrace.eventing.deadletters.letter import DeadLetter
    from headrace.eventing.deadletters.pace import TokenBucket
    from headrace.eventing.deadletters.selection import Selection
    from headrace.eventing.kafka.settings import KafkaSettings

ROWS = 100
"""Letters that a list shows unless it is told how many."""

Topic = Annotated[str | None, typer.Option(help="Topic of dead letters.")]
App = Annotated[str | None, typer.Option(help="App whose dead letters are meant, instead of --topic.")]
File = Annotated[
    Path | None,
    typer.Option("-f", "--file", help="The app's file [default: headrace.yaml here, else the running `headrace up`]."),
]
Kafka = Annotated[str | None, typer.Option(help=KAFKA_HELP)]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Event ids, or places PARTITION/OFFSET.", show_default=False),
]
Expression = Annotated[
    str | None,
    typer.Option("--filter", help="CESQL over the letter's attributes: \"type LIKE 'com.%' AND hrattempts > 3\"."),
]
Reason = Annotated[
    list[str] | None,
    typer.Option(
        help="invalid, rejected, exhausted, expired, crashed; may be given several times.", show_default=False
    ),
]
Since = Annotated[str | None, typer.Option(help="Written in the last 10m, 2h, 1d; or since a time of RFC 3339.")]
Until = Annotated[str | None, typer.Option(help="Written before so long ago, or before a time of RFC 3339.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Most letters, the oldest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
Output = Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)]

dead_letters = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the events that failed for good, look at one, send them back, or drop them.",
)


@dead_letters.command("list")
def list_letters(
    topic: Topic = None,
    app: App = None,
    file: File = None,
    kafka: Kafka = None,
    expression: Expression = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that were redriven or dropped as well.")] = False,
    output: Output = "table",
) -> None:
    """List the letters that wait.

    The oldest of each partition come first. As a table the first 100, unless --limit says otherwise; as JSON all of
    them, one object a line.
    """
    from headrace.cli.dead_letters_print import as_json, print_table, row

    selection = _selection(None, expression, reason, since, until)
    most = limit or (ROWS if output == "table" else None)
    rows: list[list[str]] = []
    found = 0
    for letter, mark in _letters(kafka_settings(kafka), _topic(topic, app, file), selection):
        if mark and not everything:
            continue
        found += 1
        if most is not None and found > most:
            continue
        if output == "json":
            typer.echo(orjson.dumps(as_json(letter, mark)).decode())
        else:
            rows.append(row(letter, mark))
    if output == "table":
        print_table(rows)
        hidden = found - len(rows)
        typer.echo(f"{found} dead letters{f', {hidden} not shown: give --limit' if hidden else ''}", err=True)


@dead_letters.command()
def show(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Event id, or place PARTITION/OFFSET.")],
    topic: Topic = None,
    app: App = None,
    file: File = None,
    kafka: Kafka = None,
    output: Output = "table",
) -> None:
    """Show one event's letters in full.

    Every attribute, what the receiver said, the data, and how to find the trace. An event that was sent back and
    failed again has several letters.
    """
    from headrace.cli.dead_letters_print import as_full_json, in_full

    chosen = _topic(topic, app, file)
    found = list(_letters(kafka_settings(kafka), chosen, _selection([identifier], None, None, None, None)))
    if not found:
        raise ConfigurationError(
            f"{chosen} has no letter {identifier!r}", hint=f"`headrace dead-letters list --topic {chosen}` names them"
        )
    if output == "json":
        for letter, mark in found:
            typer.echo(orjson.dumps(as_full_json(letter, mark)).decode())
        return
    typer.echo("\n\n".join(in_full(letter, mark) for letter, mark in found))


@dead_letters.command()
def redrive(
    ids: Ids = None,
    topic: Topic = None,
    app: App = None,
    file: File = None,
    kafka: Kafka = None,
    to: Annotated[
        str | None, typer.Option(metavar="TOPIC|APP", help="Where to [default: the topic that each came from].")
    ] = None,
    expression: Expression = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    speed: Annotated[
        str | None, typer.Option("--rate", metavar="N/s", help="Events a second, or N/m [default: as fast as it goes].")
    ] = None,
    dropped: Annotated[bool, typer.Option("--dropped", help="Those that were dropped as well.")] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Send events back as they were, each once.

    A run that was interrupted, however hard, is taken up by giving the same command again: what was sent is not sent
    twice. A letter that was sent stays in its topic, and is no longer listed.
    """
    from headrace.eventing.deadletters.handling import Order

    _run(
        kafka_settings(kafka),
        Order(
            _topic(topic, app, file),
            "redriven",
            _selection(ids, expression, reason, since, until),
            to=topic_named(to, file) if to else None,
            limit=limit,
            dropped=dropped,
            dry_run=dry_run,
        ),
        output,
        bucket=_bucket(speed),
    )


@dead_letters.command()
def drop(
    ids: Ids = None,
    topic: Topic = None,
    app: App = None,
    file: File = None,
    kafka: Kafka = None,
    expression: Expression = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    everything: Annotated[bool, typer.Option("--all", help="Every letter: needed where nothing else chooses.")] = False,
    dry_run: DryRun = False,
    output: Output = "table",
) -> None:
    """Mark letters as dropped.

    They are no longer listed, and not sent back unless `redrive --dropped` is asked to. Nothing is deleted from Kafka;
    the topic's retention does that.
    """
    from headrace.eventing.deadletters.handling import Order

    selection = _selection(ids, expression, reason, since, until)
    if selection.is_all and limit is None and not everything:
        raise ConfigurationError("Which letters?", hint="give ids, --filter, --reason, --since or --until; or --all")
    order = Order(_topic(topic, app, file), "dropped", selection, limit=limit, dry_run=dry_run)
    _run(kafka_settings(kafka), order, output)


def _topic(topic: str | None, app: str | None, file: Path | None) -> str:
    if topic and app:
        raise ConfigurationError("--topic and --app say the same twice", hint="give one of them")
    return topic or app_topics(app, file).dead_letters


def _selection(
    ids: list[str] | None, expression: str | None, reasons: list[str] | None, since: str | None, until: str | None
) -> Selection:
    from headrace.eventing.deadletters.selection import Selection
    from headrace.eventing.filters import compile_filter

    return Selection(
        ids=frozenset(ids or ()),
        reasons=frozenset(reasons or ()),
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        matches=compile_filter(expression) if expression else None,
    )


def _bucket(speed: str | None) -> TokenBucket | None:
    from headrace.eventing.deadletters.handling import MOST_A_TRANSACTION
    from headrace.eventing.deadletters.pace import TokenBucket

    if speed is None:
        return None
    wanted = rate(speed, "--rate")
    # Transactions of a fifth of a second's worth: steady for the receiver, cheap for the broker.
    return TokenBucket(wanted, min(MOST_A_TRANSACTION, max(1, int(wanted / 5))))


def _letters(kafka: KafkaSettings, topic: str, selection: Selection) -> Iterator[tuple[DeadLetter, Mark | None]]:
    """The letters that are meant, each with what was done with it."""
    from headrace.eventing.deadletters.handled import read_handled
    from headrace.eventing.deadletters.letter import read_letter
    from headrace.eventing.kafka.scan import Scanner

    with Scanner(kafka) as scanner:
        handled = read_handled(scanner, topic)
        for letter in map(read_letter, scanner.topic(topic)):
            if selection.takes(letter):
                yield letter, handled.of(letter)


def _run(kafka: KafkaSettings, order: Order, output: str, *, bucket: TokenBucket | None = None) -> None:
    """Do it with a bar on standard error where a person looks on, and say what was done."""
    from rich.console import Console
    from rich.progress import Progress

    from headrace.cli.dead_letters_print import summary_json, summary_text
    from headrace.eventing.deadletters.handling import handle

    provider = trace_this_command("headrace-redrive")
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=not person_looks_on()) as bar:
            task = bar.add_task(order.letters, total=None)

            def show_progress(summary: Summary, total: int) -> None:
                said = f"{order.letters}: {summary.done} {order.action}"
                bar.update(task, total=total, completed=summary.scanned, description=said)

            summary = handle(kafka, order, bucket=bucket, progress=show_progress)
    finally:
        if provider:
            provider.shutdown()
    if output == "json":
        typer.echo(orjson.dumps(summary_json(order, summary)).decode())
    else:
        typer.echo(summary_text(order, summary))
    if summary.refused:
        sys.exit(1)
