"""``headrace record``: a range of a topic, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.ranges import Expression, Group, Limit, Offsets, Sample, Since, Until, choice, wanted, warn
from headrace.cli.target import KAFKA_HELP, kafka_settings
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.eventing.log import Record


def record(
    topic: Annotated[str, typer.Option(help="Kafka topic.")],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE|s3://", help="The file, which must not be there yet: .parquet, or .jsonl."
        ),
    ],
    kafka: Annotated[str | None, typer.Option(help=KAFKA_HELP)] = None,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    group: Group = None,
    expression: Expression = None,
    sample: Sample = None,
    limit: Limit = None,
) -> None:
    """Keep events of a topic in a file of CloudEvents, with the place, key, headers and time that each had.

    Changes nothing in Kafka. What is there when it begins is recorded, not what comes meanwhile. The file appears when
    it is whole.
    """
    from headrace.cli.replay_run import removed
    from headrace.eventing.log import Partition
    from headrace.eventing.replay.files import dump_as
    from headrace.eventing.replay.places.place import place_of
    from headrace.eventing.replay.ranges import find_ranges, first_chosen
    from headrace.eventing.replay.source import TopicRange

    place = place_of(output)
    if place.version() or place.is_folder():
        raise ConfigurationError(f"{output} is there already", hint="give another name, or remove it")
    chosen, address = choice(expression, sample), kafka_settings(kafka)
    found = find_ranges(address, wanted(topic, since, until, offsets, group))
    for sentence in found.missing:
        warn(sentence)
    begins = {Partition(part.topic, part.number): part.begin for part in found.ranges}
    ends = {Partition(part.topic, part.number): part.end for part in found.ranges}
    source = TopicRange(address, begins, ends, by_time=len(begins) > 1)
    counted = _Counted(first_chosen(source.read({}), chosen, limit or 1 << 62))
    place.write(dump_as(place.suffix)(counted))
    if found.compacted and source.empty:
        warn(removed(source.empty))
    typer.echo(f"{counted.count} events of {topic} in {output}")


class _Counted:
    """Records, and how many went by."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.count = 0

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self.count += 1
            yield record
