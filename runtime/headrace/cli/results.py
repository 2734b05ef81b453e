"""``headrace results``: answers, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from headrace.cli.target import KAFKA_HELP, OUTPUT_HELP, kafka_settings
from headrace.errors import ConfigurationError, HeadraceError
from headrace.local.state import Home

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.log import Record

LONGEST = 100
"""Characters of an answer in a table; --output json has all of it."""


def results(
    topic: Annotated[str | None, typer.Option(help="Topic of results [default: that of the running app].")] = None,
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as results come, until Ctrl-C.")] = False,
    output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table",
) -> None:
    """Print the results of a topic: which event, how long from its publishing, and the answer."""
    from headrace.eventing.kafka.reader import read_topic

    chosen = topic or _running_topic()
    try:
        for record in read_topic(kafka_settings(kafka), chosen, follow=follow):
            if record is not None:
                typer.echo(_line(record, output))
    except KeyboardInterrupt:
        return


def _running_topic() -> str:
    running = Home.of().read()
    topics: list[str] = [app.results for app in running.apps if app.results] if running else []
    if len(topics) != 1:
        raise ConfigurationError("Which topic?", hint="give --topic, such as --topic pictures.labels")
    return topics[0]


def _line(record: Record, output: str) -> str:
    from headrace.eventing.codec.kafka import read_record

    try:
        event = read_record(record, namespace="", name="")
    except HeadraceError as fault:
        return f"{record.partition.topic}/{record.partition.number} at {record.offset}: {fault}"
    return _json(event) if output == "json" else _row(event)


def _json(event: CloudEvent) -> str:
    from headrace.eventing.codec import json_format

    return json_format.dump_event(event).decode()


def _row(event: CloudEvent) -> str:
    mark = "x" if event.type.endswith(".error.v1") else "."
    subject = event.get("subject") or event.get("causationid")
    return f"{mark} {subject:<28} {event.get('causationid'):<36}  {summary(event)}"


def summary(event: CloudEvent) -> str:
    """What an answer says, in one short line: a label with its confidence, an error's detail, or the data itself."""
    try:
        data: Any = orjson.loads(event.data or b"null")
    except orjson.JSONDecodeError:
        return f"{len(event.data or b'')} bytes of {event.content_type}"
    if isinstance(data, dict) and "detail" in data:
        return f"{data.get('code', 'error')}: {data['detail']}"[:LONGEST]
    first = data["predictions"][0] if isinstance(data, dict) and data.get("predictions") else data
    if isinstance(first, dict) and {"label", "confidence"} <= first.keys():
        return f"{first['label']} {first['confidence']:.0%}"
    return orjson.dumps(first).decode()[:LONGEST]
