"""``headrace record``: a range of a topic, as a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.ranges import Expression, Group, Limit, Offsets, Sample, Since, Until, choice, wanted, warn
from headrace.cli.target import KAFKA_HELP, kafka_settings
from headrace.errors import ConfigurationError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterable


def record(
    topic: Annotated[str, typer.Option(help="Kafka topic.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file; it must not be there yet.")],
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    group: Group = None,
    expression: Expression = None,
    sample: Sample = None,
    limit: Limit = None,
) -> None:
    """Keep events of a topic in a file of CloudEvents, one a line, with the place, key and time that each had.

    Changes nothing in Kafka. What is there when it begins is recorded, not what comes meanwhile. The file appears when
    it is whole.
    """
    from headrace.eventing.log import Partition
    from headrace.eventing.replay.ranges import find_ranges, first_chosen
    from headrace.eventing.replay.recording import dump_recorded
    from headrace.eventing.replay.source import TopicRange

    if output.exists():
        raise ConfigurationError(f"{output} is there already", hint="give another name, or remove it")
    chosen, address = choice(expression, sample), kafka_settings(kafka)
    found = find_ranges(address, wanted(topic, since, until, offsets, group))
    for sentence in found.missing:
        warn(sentence)
    begins = {Partition(part.topic, part.number): part.begin for part in found.ranges}
    ends = {Partition(part.topic, part.number): part.end for part in found.ranges}
    records = TopicRange(address, begins, ends, by_time=len(begins) > 1).read({})
    written = _write(output, map(dump_recorded, first_chosen(records, chosen, limit or 1 << 62)))
    typer.echo(f"{written} events of {topic} in {output}")


def _write(path: Path, lines: Iterable[bytes]) -> int:
    """Write the lines; the name is given to the whole file alone."""
    beside = path.with_name(f"{path.name}.part")
    count = 0
    try:
        with beside.open("wb") as file:
            for line in lines:
                file.write(line)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as fault:
        raise StorageFullError(
            f"Cannot write {path}: {fault.strerror}", hint="make room, or name another place"
        ) from fault
    finally:
        beside.unlink(missing_ok=True)
    return count
