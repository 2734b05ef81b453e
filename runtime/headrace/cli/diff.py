"""``headrace diff``: two sets of answers to the same events."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.diff_terms import (
    Absolute,
    As,
    Cosine,
    Gate,
    Html,
    Prices,
    Relative,
    Size,
    SizeBefore,
    Terms,
    Top,
)  # fmt: skip
from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings
from headrace.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.eventing.comparison.gate import Condition
    from headrace.eventing.comparison.report import Report
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.settings import KafkaSettings

SHOWN = 10
"""Rows of a list in a terminal; --output json and --html have more."""


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="Answers: a .jsonl file, a topic, or TOPIC@RUN.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The answers that are compared with them.")],
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    rule: As = "auto",
    absolute: Absolute = 1e-6,
    relative: Relative = 1e-4,
    cosine: Cosine = 0.999,
    top: Top = 5,
    prices: Prices = None,
    size: Size = None,
    size_before: SizeBefore = None,
    gate: Gate = None,
    html: Html = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Compare answers B with answers A, event by event: classes that flipped, numbers that moved, what fails now.

    The last answer of each to an event counts. TOPIC@RUN takes those of one replay alone. Exit code 0, or 1 where a
    --gate is not met.
    """
    terms = Terms(rule, absolute, relative, cosine, top, gate, html, prices, size, size_before)
    compare_places(before, after, terms, kafka=kafka, output=output)


def compare_places(
    before: str, after: str, terms: Terms, *, names: tuple[str, str] | None = None, kafka: str | None, output: str
) -> None:
    """Compare, print, and exit with 1 where the gate is not met.

    Args:
        before: Where A's answers are: a file, a topic or TOPIC@RUN.
        after: Where B's are.
        terms: By what they are compared.
        names: What A and B are called in the report; None for their places.
        kafka: The broker, where the user names one.
        output: ``table`` or ``json``.

    Raises:
        ConfigurationError: a place is not there, or the terms cannot be read.
        UnavailableError: no broker answers.
    """
    from headrace.eventing.comparison.join import AFTER, BEFORE, Answers
    from headrace.eventing.comparison.report import compare

    conditions, pricing = terms.conditions(), terms.pricing()
    with closing(Answers()) as answers:
        for side, place in ((BEFORE, before), (AFTER, after)):
            topic, _, run = place.partition("@")
            answers.add(side, _events_at(place, topic, kafka), run or None)
        found = compare(
            answers.pairs(),
            names=names or (before, after),
            tolerance=terms.tolerance(),
            rule=terms.rule,
            pricing=pricing,
        )
    if terms.html:
        _write_page(terms.html, found, conditions)
    _print(found, conditions, output)
    if not all(condition.met(found) for condition in conditions):
        raise typer.Exit(1)


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
    if report.top:
        yield f"  {report.top} with other classes among the first few"
    if report.similarity is not None:
        yield f"  smallest similarity of two texts {report.similarity:.4f}"
    for name, latency, cost in zip("AB", report.latency, report.cost, strict=True):
        if latency.p50 is not None:
            times = f"median {latency.p50:.4g} ms, 99 % {latency.p99:.4g} ms, most {latency.most:.4g} ms"
            rate = f", {latency.rate:.4g} a busy second" if latency.rate else ""
            price = f", {cost.per_thousand:.4g} {cost.currency} a thousand" if cost else ""
            yield f"  {name}: {times}{rate}{price}"
    for (one, other), count in sorted(report.confusion.items(), key=lambda flip: (-flip[1], flip[0]))[:SHOWN]:
        yield f"  {count:>6} x  {one} -> {other}"
    for found in report.differences[:SHOWN]:
        yield f"  {found.kind:<8} {found.request}  {'; '.join(found.notes)}".rstrip()


def _write_page(path: Path, report: Report, gate: Sequence[Condition]) -> None:
    from headrace.cli.diff_traces import trace_steps
    from headrace.eventing.comparison.page import page

    try:
        path.write_text(page(report, gate, trace_steps), encoding="utf-8")
    except OSError as fault:
        raise StorageFullError(f"Cannot write {path}: {fault.strerror}") from fault
