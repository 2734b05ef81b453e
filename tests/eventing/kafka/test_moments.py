"""The group member at moments that a real broker cannot be brought to at will: by a client that fails when told to."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from kafka.errors import FencedInstanceIdError, KafkaConnectionError, KafkaError, ProducerFencedError
from kafka.structs import ConsumerGroupMetadata

from headrace.errors import HeadraceError, TakenOverError, UnavailableError
from headrace.eventing.kafka import member as module
from headrace.eventing.kafka.faults import translate
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
        self.ids = ["me"]

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
        """A member in its newest generation; with a new id once the one it has was refused."""
        return ConsumerGroupMetadata("group", 7, self.ids.pop(0) if len(self.ids) > 1 else self.ids[0])


class Writer:
    """Remembers what it was given to write."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.refusal: KafkaError | None = None

    def write(self, records: Any, done: Any, group: Any) -> None:
        """Keep it, or refuse it."""
        if self.refusal:
            raise translate(self.refusal, "write") from self.refusal
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


def test_a_member_that_joined_anew_while_it_wrote_tries_again() -> None:
    """A broker that lost its groups refuses the old id in words for a take-over; its own new id tells."""
    made, client, writer = member()
    writer.refusal, client.ids = FencedInstanceIdError(), ["me", "me", "me again"]
    with pytest.raises(UnavailableError, match="anew"):
        made._write([], {HERE: Committed(1)})


@pytest.mark.parametrize("refusal", [FencedInstanceIdError(), ProducerFencedError()])
def test_a_member_whose_name_another_process_took_ends(refusal: KafkaError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id stays refused: it must not write again, for that would fence the one which took over."""
    monkeypatch.setattr(module, "REJOIN", 0.2)
    made, _, writer = member()
    writer.refusal = refusal
    with pytest.raises(TakenOverError):
        made._write([], {HERE: Committed(1)})
