"""``headrace diff``: two sets of answers to the same events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings
from headrace.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.eventing.comparison.answers import Answer
    from headrace.eventing.comparison.gate import Condition
    from headrace.eventing.comparison.report import Report
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.settings import KafkaSettings

SHOWN = 10
"""Rows of a list in a terminal; --output json and --html have more."""
Gate = Annotated[
    str | None,
    typer.Option(metavar="CONDITIONS", help="Exit with 1 unless they are met: flips<0.5%, p99<200ms, cosine>0.999."),
]
Html = Annotated[Path | None, typer.Option(help="Write the report as one HTML page.", dir_okay=False)]
Absolute = Annotated[float, typer.Option(min=0.0, help="Numbers that are so near are close.")]
Relative = Annotated[float, typer.Option(min=0.0, help="Or so near as a share of their size.")]


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="Answers: a .jsonl file, a topic, or TOPIC@RUN.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The answers that are compared with them.")],
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    absolute: Absolute = 1e-6,
    relative: Relative = 1e-4,
    gate: Gate = None,
    html: Html = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Compare answers B with answers A, event by event: classes that flipped, numbers that moved, what fails now.

    The last answer of each to an event counts. TOPIC@RUN takes those of one replay alone. Exit code 0, or 1 where a
    --gate is not met.
    """
    compare_places(before, after, kafka=kafka, tolerance=(absolute, relative), gate=gate, html=html, output=output)


def compare_places(
    before: str,
    after: str,
    *,
    names: tuple[str, str] | None = None,
    kafka: str | None,
    tolerance: tuple[float, float] = (1e-6, 1e-4),
    gate: str | None,
    html: Path | None,
    output: str,
) -> None:
    """Compare, print, and exit with 1 where the gate is not met.

    Raises:
        ConfigurationError: a place is not there, or the gate cannot be read.
    """
    from headrace.eventing.comparison.difference import Tolerance
    from headrace.eventing.comparison.gate import parse_gate
    from headrace.eventing.comparison.report import compare

    conditions = parse_gate(gate) if gate else ()
    found = compare(
        answers_at(before, kafka),
        answers_at(after, kafka),
        names=names or (before, after),
        tolerance=Tolerance(*tolerance),
    )
    if html:
        _write_page(html, found, conditions)
    _print(found, conditions, output)
    if not all(condition.met(found) for condition in conditions):
        raise typer.Exit(1)


def answers_at(place: str, kafka: str | None) -> dict[str, Answer]:
    """The answers in a file or a topic, by the event that they answer.

    Raises:
        ConfigurationError: there is no such file or topic.
        UnavailableError: no broker answers.
    """
    from headrace.eventing.comparison.answers import by_request

    topic, _, run = place.partition("@")
    return by_request(_events_at(place, topic, kafka), run or None)


def _events_at(place: str, topic: str, kafka: str | None) -> Iterator[CloudEvent]:
    from headrace.eventing.comparison.answers import answers_of_file, answers_of_topic

    if place.endswith(".jsonl"):
        return answers_of_file(Path(place))
    settings: KafkaSettings = kafka_settings(kafka)
    return answers_of_topic(settings, topic)


def _print(report: Report, gate: Sequence[Condition], output: str) -> None:
    if output == "json":
        met = [{"condition": one.text, "met": one.met(report), "found": one.says(report)} for one in gate]
        typer.echo(orjson.dumps({**report.facts(), "gate": met}).decode())
        return
    for line in _lines(report):
        typer.echo(line)
    for one in gate:
        typer.echo(f"{'met    ' if one.met(report) else 'NOT MET'}  {one.says(report)}")


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.both} events answered by both; {report.only[0]} by A alone, {report.only[1]} by B alone"
    for kind, count in report.counts.items():
        yield f"  {kind:<8} {count:>8}  {report.share(kind):.2%}"
    if report.cosine is not None:
        yield f"  smallest cosine {report.cosine:.6f}"
    if report.most:
        yield f"  largest difference of two numbers {report.most:.6g}"
    for name, latency in zip("AB", report.latency, strict=True):
        if latency.p50 is not None:
            yield f"  {name}: median {latency.p50:.4g} ms, 99 % {latency.p99:.4g} ms, most {latency.most:.4g} ms"
    for (one, other), count in sorted(report.confusion.items(), key=lambda flip: (-flip[1], flip[0]))[:SHOWN]:
        yield f"  {count:>6} x  {one} -> {other}"
    for found in report.differences[:SHOWN]:
        if found.kind not in {"same", "close"}:
            yield f"  {found.kind:<8} {found.request}  {'; '.join(found.notes)}".rstrip()


def _write_page(path: Path, report: Report, gate: Sequence[Condition]) -> None:
    from headrace.eventing.comparison.page import page

    try:
        path.write_text(page(report, gate), encoding="utf-8")
    except OSError as fault:
        raise StorageFullError(f"Cannot write {path}: {fault.strerror}") from fault
