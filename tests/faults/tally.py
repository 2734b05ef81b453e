"""What became of a batch of events, counted from the topics and the group's offsets by a client that is not ours."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

import confluent_kafka

GROUP = "headrace.tests.faults"
WAIT = 20.0
ERROR_TYPE = b"dev.headrace.inference.error.v1"


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that were published and acknowledged, in the order of each key."""

    name: str
    ids: tuple[str, ...]
    poison: frozenset[str] = frozenset()

    @staticmethod
    def key(number: int) -> str:
        """The key of the event with this number; twelve in all, three for each of four partitions."""
        return f"k{number % 12}"


@dataclass(frozen=True, slots=True)
class Row:
    """The numbers of one fault."""

    fault: str
    events: int
    deliveries: int
    """Requests that the sink got: a retry and a redelivery count."""
    answered: int
    dead: int
    lost: int
    """Neither answered nor dead-lettered."""
    twice: int
    """Answers, or dead letters, beyond the first of an event."""
    disordered: int
    """Answers that came before one of an earlier event of their key."""
    lag: int
    """Records of the topic behind the committed offset."""
    seconds: float

    @property
    def is_over(self) -> bool:
        """Whether nothing is to come any more."""
        return not self.lost and not self.lag


def everything(bootstrap: str, topic: str) -> list[Any]:
    """Every committed record of a topic, in the order of each partition; none where there is no such topic."""
    reader = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "nobody",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    found: list[Any] = []
    try:
        partitions = reader.list_topics(topic, WAIT).topics[topic].partitions
        left = set(partitions)
        reader.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in partitions])
        while left:
            one = reader.poll(WAIT)
            if one is None:
                raise TimeoutError(f"the end of {topic} does not come")
            if one.error() is None:
                found.append(one)
            elif one.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                left.discard(one.partition())
    finally:
        reader.close()
    return found


def lag(bootstrap: str, topic: str) -> int:
    """Records that the group has not committed."""
    member = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "log_level": 0})
    try:
        partitions = member.list_topics(topic, WAIT).topics[topic].partitions
        wanted = [confluent_kafka.TopicPartition(topic, number) for number in partitions]
        committed = {one.partition: max(one.offset, 0) for one in member.committed(wanted, WAIT)}
        ends = {one.partition: member.get_watermark_offsets(one, WAIT)[1] for one in wanted}
    finally:
        member.close()
    return sum(ends[number] - committed[number] for number in partitions)


def count(bootstrap: str, batch: Batch, deliveries: Counter[str], seconds: float) -> Row:
    """The numbers as they are now."""
    numbers = {event: number for number, event in enumerate(batch.ids)}
    answers: Counter[str] = Counter()
    errors: set[str] = set()
    furthest: Counter[str] = Counter()
    disordered = 0
    for record in everything(bootstrap, "out"):
        headers = dict(record.headers())
        cause = headers["ce_causationid"].decode()
        if cause not in numbers:
            continue
        answers[cause] += 1
        if headers["ce_type"] == ERROR_TYPE:
            errors.add(cause)
        key = batch.key(numbers[cause])
        disordered += numbers[cause] + 1 < furthest[key]
        furthest[key] = max(furthest[key], numbers[cause] + 1)
    letters = Counter(dict(record.headers())["ce_id"].decode() for record in everything(bootstrap, "dead"))
    dead = {event: times for event, times in letters.items() if event in numbers}
    answered = set(answers) - errors
    return Row(
        fault=batch.name,
        events=len(batch.ids),
        deliveries=sum(deliveries[event] for event in batch.ids),
        answered=len(answered),
        dead=len(dead),
        lost=len(set(batch.ids) - answered - set(dead)),
        twice=sum(answers.values()) - len(answers) + sum(dead.values()) - len(dead),
        disordered=disordered,
        lag=lag(bootstrap, "in"),
        seconds=round(seconds, 1),
    )


def event(number: int, name: str, *, poison: bool) -> dict[str, Any]:
    """A CloudEvent in binary mode, as the arguments of a producer."""
    key = Batch.key(number)
    attributes = {"specversion": "1.0", "id": f"{name}-{number}", "source": "/faults", "type": "t", "partitionkey": key}
    headers = {f"ce_{attribute}": value.encode() for attribute, value in attributes.items()}
    return {
        "key": key.encode(),
        "value": json.dumps({"n": number, "poison": poison}).encode(),
        "partition": number % 12 % 4,
        "headers": [*headers.items(), ("content-type", b"application/json")],
    }


def table(rows: list[Row]) -> list[str]:
    """The rows as lines of text, with a heading."""
    names = [field.name for field in fields(Row)]
    cells = [names, *([str(getattr(row, name)) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
