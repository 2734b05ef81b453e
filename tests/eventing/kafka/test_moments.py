"""The group member at moments that a real broker cannot be brought to at will: by a client that fails when told to."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from kafka.errors import KafkaConnectionError
from kafka.structs import ConsumerGroupMetadata

from headrace.errors import HeadraceError, UnavailableError
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.log import Committed, Partition

HERE = Partition("in", 0)


class Raw(NamedTuple):
    """A record as the client gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Client:
    """A consumer that gives offsets 0, 1, 2... one a poll, and each once."""

    def __init__(self) -> None:
        self.given = 0
        self.failures = 0

    def assignment(self) -> set[Any]:
        """Nothing to pause."""
        return set()

    paused = assignment

    def pause(self, *_: Any) -> None:
        """Nothing."""

    resume = pause

    def poll(self, **_: Any) -> dict[Any, list[Raw]]:
        """The next record."""
        self.given += 1
        return {HERE: [Raw("in", 0, self.given - 1, 0, None, b"x", ())]}

    def committed(self, _: Any, *, metadata: bool) -> None:
        """Nothing was committed, or the broker is away."""
        if self.failures:
            self.failures -= 1
            raise KafkaConnectionError

    def group_metadata(self) -> ConsumerGroupMetadata:
        """A member in its newest generation."""
        return ConsumerGroupMetadata("group", 7, "me")


class Writer:
    """Remembers what it was given to write."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    def write(self, records: Any, done: Any, group: Any) -> None:
        """Keep it."""
        self.written.append(done)


def member() -> tuple[KafkaMember, Client, Writer]:
    """A member that was just given a partition."""
    made, client, writer = KafkaMember("nowhere:1", topic="in", group="g"), Client(), Writer()
    made._consumer, made._writer = client, writer  # type: ignore[assignment]  # doubles of the test's own
    made.on_assigned([HERE])
    return made, client, writer


def test_no_polled_record_is_dropped() -> None:
    """While the broker cannot say what was committed, what was polled waits; then all of it comes, in order."""
    made, client, _ = member()
    client.failures = 2
    found = [made._poll(10) for _ in range(4)]
    assert [[record.offset for record in records] for _, records in found] == [[], [], [0], [1]]
    assert [list(committed) for committed, _ in found] == [[], [], [HERE], []], "and the partition is told of, once"


def test_a_partition_that_went_is_not_committed() -> None:
    """With the newest generation Kafka would take a commit for a partition of another member: it is not asked to."""
    made, _, writer = member()
    made._write([], {HERE: Committed(1)})
    made._owned.clear()
    with pytest.raises(UnavailableError) as refused:
        made._write([], {HERE: Committed(2)})
    assert isinstance(refused.value, HeadraceError)
    assert refused.value.retriable, "the dispatcher drops what is not its own any more, and commits the rest"
    assert writer.written == [{HERE: Committed(1)}]
