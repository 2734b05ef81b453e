"""``headrace publish``: files as events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings, trace_this_command
from headrace.errors import ConfigurationError, HeadraceError

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent


def publish(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files: each becomes one event.", show_default=False)
    ] = None,
    topic: Annotated[str, typer.Option(help="Kafka topic.")] = ...,  # type: ignore[assignment]  # typer: required
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    kind: Annotated[str, typer.Option("--type", help="The events' type.")] = "dev.headrace.file.v1",
    source: Annotated[str, typer.Option(help="The events' source.")] = "/headrace/publish",
    key: Annotated[
        str | None, typer.Option(help="The events' partitionkey: events of one key keep their order.")
    ] = None,
    events: Annotated[Path | None, typer.Option(help="A file of CloudEvents, one JSON object a line.")] = None,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Publish files as CloudEvents, one event a file, in binary mode; print the id of each.

    A file that cannot be published is named, the others are published all the same, and the exit code is 1.
    """
    from headrace.eventing.kafka.publisher import Publisher

    wanted, refused = _events(files or [], events, kind, source, key)
    if wanted:
        provider = trace_this_command("headrace-publish")
        try:
            with Publisher(kafka_settings(kafka)) as publisher:
                places = publisher.publish(topic, wanted)
        finally:
            if provider:
                provider.shutdown()
        for event, (partition, offset) in zip(wanted, places, strict=True):
            _print(event, topic, partition.number, offset, output)
    for fault in refused:
        typer.echo(f"headrace: {fault}", err=True)
    if refused:
        sys.exit(1)


def _events(
    files: list[Path], events: Path | None, kind: str, source: str, key: str | None
) -> tuple[list[CloudEvent], list[HeadraceError]]:
    from headrace.eventing.publish import events_of, file_event

    if not files and events is None:
        raise ConfigurationError("Nothing to publish", hint="name files, or --events FILE.jsonl")
    wanted = list(events_of(events)) if events else []
    refused: list[HeadraceError] = []
    for path in files:
        try:
            wanted.append(file_event(path, kind=kind, source=source, key=key))
        except HeadraceError as fault:
            refused.append(fault)
    return wanted, refused


def _print(event: CloudEvent, topic: str, partition: int, offset: int, output: str) -> None:
    if output == "json":
        place = {"topic": topic, "partition": partition, "offset": offset}
        typer.echo(orjson.dumps({"id": event.id, "subject": event.get("subject"), **place}).decode())
    else:
        typer.echo(f"{event.id}  {event.get('subject')}  ->  {topic}/{partition} at {offset}")
