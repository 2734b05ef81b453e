"""``headrace audit``: is anything lost, did anything come twice?"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from headrace.cli.app_topics import AppTopics, app_topics
from headrace.cli.moments import moment, span
from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings, person_looks_on
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.eventing.audit import Order, Report
    from headrace.eventing.kafka.settings import KafkaSettings

_MEANING = {
    "lost": "no answer, and older than --grace",
    "duplicate": "more answers than events",
    "late": "answered, after --late",
    "pending": "no answer yet",
    "dead-lettered": "failed for good",
    "orphan": "an answer to no event that is there",
}


def audit(
    events: Annotated[str | None, typer.Option("--input", help="Topic of events.")] = None,
    results: Annotated[str | None, typer.Option(help="Topic of their answers.")] = None,
    dead_letters: Annotated[str | None, typer.Option("--dead-letters", help="Topic of dead letters.")] = None,
    app: Annotated[
        str | None, typer.Option(help="App whose topics and group are meant, where no option names them.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="Its file [default: headrace.yaml here, else the running `headrace up`]."),
    ] = None,
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Consumer group that answers: what it has not committed is pending, however old."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Events of the last 10m, 2h, 1d; or since a time of RFC 3339.")
    ] = None,
    grace: Annotated[str, typer.Option(help="Time before an event without answer counts as lost.")] = "60s",
    late: Annotated[str | None, typer.Option(help="Time after which an answer is late.")] = None,
    expression: Annotated[
        str | None,
        typer.Option("--filter", help="CESQL: only events that match need an answer [default: the trigger's filters]."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Count answers of this source alone, where apps share a topic of results.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Most events of each kind that are named; all are counted.")] = 20,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Compare a topic of events with the topic of their answers.

    Exit code 0 when nothing is lost and nothing came twice, else 1. Changes nothing, and needs no pause of the work.
    """
    from headrace.eventing.audit import Order
    from headrace.eventing.filters import compile_filter

    topics = _topics(events, results, app, file)
    order = Order(
        events=topics.events,
        results=topics.results or "",
        dead_letters=dead_letters or topics.dead_letters or None,
        group=group or topics.group,
        since=moment(since, "--since"),
        grace=span(grace, "--grace").total_seconds(),
        late=span(late, "--late").total_seconds() if late else None,
        matches=compile_filter(expression) if expression else topics.wanted,
        responder=source,
        limit=limit,
    )
    report = _read(kafka_settings(kafka), order)
    if output == "json":
        typer.echo(orjson.dumps(_json(order, report), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(order, report)
    if not report.sound:
        sys.exit(1)


def _topics(events: str | None, results: str | None, app: str | None, file: Path | None) -> AppTopics:
    """What the options name; the rest from the app, unless both topics are named."""
    if events and results and not app:
        return AppTopics(events, "", results, None)
    known = app_topics(app, file)
    chosen = AppTopics(events or known.events, known.dead_letters, results or known.results, known.group, known.wanted)
    if not chosen.results:
        raise ConfigurationError("The app keeps no answers", hint="name their topic with --results TOPIC")
    return chosen


def _read(kafka: KafkaSettings, order: Order) -> Report:
    from rich.console import Console
    from rich.progress import Progress

    from headrace.eventing.audit import audit as compare

    with Progress(console=Console(stderr=True), transient=True, disable=not person_looks_on()) as bar:
        tasks = {topic: bar.add_task(topic, total=None) for topic in (order.events, order.results)}

        def show_progress(topic: str, done: int, total: int) -> None:
            if topic not in tasks:
                tasks[topic] = bar.add_task(topic)
            bar.update(tasks[topic], completed=done, total=total)

        return compare(kafka, order, now=time.time(), progress=show_progress)


def _json(order: Order, report: Report) -> dict[str, Any]:
    from headrace.eventing.audit import KINDS

    return {
        "input": order.events,
        "results": order.results,
        "deadLetters": order.dead_letters,
        "group": order.group,
        "sound": report.sound,
        "events": report.events,
        "repeated": report.repeated,
        "unwanted": report.unwanted,
        "answers": report.answers,
        "errors": report.errors,
        "unrelated": report.unrelated,
        "responders": dict(report.responders),
        "counts": {kind: report.counts[kind] for kind in KINDS},
        "findings": [
            {"kind": one.kind, "id": one.id, "source": one.source, "place": one.place, "detail": one.detail}
            for one in report.findings
        ],
    }


def _print(order: Order, report: Report) -> None:
    from headrace.cli.dead_letters_print import printable
    from headrace.eventing.audit import KINDS

    typer.echo(f"{order.events}: {report.events} events{_among(report)}")
    typer.echo(f"{order.results}: {report.answers} answers, {report.errors} of them errors")
    if len(report.responders) > 1 and report.counts["duplicate"]:
        typer.echo(f"  of {', '.join(report.responders)}: count those of one with --source")
    for kind in KINDS:
        typer.echo(f"  {kind:<14} {report.counts[kind]:>8}  {_MEANING[kind]}")
        named = [one for one in report.findings if one.kind == kind]
        for one in named:
            typer.echo(printable(f"      {one.id}  {one.source}  {one.place}  {one.detail}").rstrip())
        if named and report.counts[kind] > len(named):
            typer.echo(f"      and {report.counts[kind] - len(named)} more: give --limit")


def _among(report: Report) -> str:
    repeated = f", {report.repeated} of them published before" if report.repeated else ""
    unwanted = f", and {report.unwanted} that need no answer" if report.unwanted else ""
    return repeated + unwanted
