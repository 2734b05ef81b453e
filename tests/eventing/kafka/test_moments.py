"""The group member at moments that a real broker cannot be brought to at will: by a client that fails when told to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from headrace.errors import HeadraceError, TakenOverError, UnavailableError
from headrace.eventing.kafka import member as module
from headrace.eventing.kafka.meanings import NameTakenError
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.log import Committed, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Partition("in", 0)


class Place(NamedTuple):
    """A place in the group."""

    member_id: str = "me"
    opaque: object = None


class Client:
    """A driver's consumer that gives offsets 0, 1, 2... one a poll, and each once."""

    def __init__(self) -> None:
        self.given = 0
        self.failures = 0
        self.ids = ["me"]
        self.meanwhile: Callable[[], None] = lambda: None

    def pause(self, _: Any) -> None:
        """Nothing."""

    def poll(self, *_: Any) -> list[Record]:
        """The next record."""
        self.given += 1
        return [Record(HERE, self.given - 1, 0, None, b"x")]

    def committed(self, partitions: Any) -> dict[Partition, None]:
        """Nothing was committed, or the broker is away."""
        self.meanwhile()
        if self.failures:
            self.failures -= 1
            raise UnavailableError("the broker is away")
        return dict.fromkeys(partitions)

    def ends(self, partitions: Any) -> dict[Partition, int]:
        """No more than what was given."""
        return dict.fromkeys(partitions, self.given)

    def positions(self) -> dict[Partition, int]:
        """Behind what was given."""
        return {HERE: self.given}

    def membership(self) -> Place:
        """A member in its newest generation; with a new id once the one it has was refused."""
        return Place(self.ids.pop(0) if len(self.ids) > 1 else self.ids[0])


class Writer:
    """Remembers what it was given to write."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.refusal: HeadraceError | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def write(self, records: Any, done: Any, group: Any) -> None:
        """Keep it if the place in the group is given, or refuse it."""
        self.meanwhile()
        group()
        if self.refusal:
            raise self.refusal
        self.written.append(done)


class Listener:
    """Is told, and does nothing."""

    def assigned(self, committed: Any) -> None:
        """Nothing."""

    async def revoked(self, partitions: Any) -> None:
        """Nothing."""

    def lost(self, partitions: Any) -> None:
        """Nothing."""


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
    made._write([], {HERE: Committed(1)}, dict(made._owned))
    lives = dict(made._owned)
    made._owned.clear()
    with pytest.raises(UnavailableError) as refused:
        made._write([], {HERE: Committed(2)}, lives)
    assert isinstance(refused.value, HeadraceError)
    assert refused.value.retriable, "the dispatcher drops what is not its own any more, and commits the rest"
    assert writer.written == [{HERE: Committed(1)}]


def test_a_commit_from_an_earlier_life_of_a_partition_is_not_made() -> None:
    """A partition that went and came back while the answers were written: its new life answers those events anew.

    The group's newest generation has the partition as well, so Kafka would take the commit, and the answers come twice.
    """
    made, _, writer = member()

    def go_and_come_back() -> None:
        made._disown({HERE})
        made.on_assigned([HERE])

    async def commit_in_between() -> None:
        made._loop, made._listener = asyncio.get_running_loop(), Listener()
        await made.poll(10)
        writer.meanwhile = go_and_come_back
        with pytest.raises(UnavailableError):
            await made.commit([], {HERE: Committed(1)})
        writer.meanwhile = lambda: None
        with pytest.raises(UnavailableError):
            await made.commit([], {HERE: Committed(1)})
        await made.poll(10)
        await made.commit([], {HERE: Committed(1)})

    asyncio.run(commit_in_between())
    assert writer.written == [{HERE: Committed(1)}], "only what the listener made of the life that it was told of"


def test_what_was_polled_before_a_partition_went_is_not_of_its_next_life() -> None:
    """A partition that went and came back is read anew: what is held of before would leave a gap behind it."""
    made, client, _ = member()
    client.failures = 1
    assert made._poll(10) == ({}, []), "offset 0 is held"

    def went_and_came_back() -> None:
        made._disown({HERE})
        made.on_assigned([HERE])

    client.meanwhile = went_and_came_back
    assert made._poll(10) == ({}, []), "neither the old record, nor what was committed before it went"
    client.meanwhile = lambda: None
    committed, records = made._poll(10)
    assert (list(committed), [record.offset for record in records]) == ([HERE], [1])


def test_a_member_that_joined_anew_while_it_wrote_tries_again() -> None:
    """A broker that lost its groups refuses the old id in words for a take-over; its own new id tells."""
    made, client, writer = member()
    writer.refusal, client.ids = NameTakenError("refused"), ["me", "me", "me", "me again"]
    with pytest.raises(UnavailableError, match="anew"):
        made._write([], {HERE: Committed(1)}, dict(made._owned))


@pytest.mark.parametrize("refusal", [NameTakenError("refused"), TakenOverError("fenced")])
def test_a_member_whose_name_another_process_took_ends(
    refusal: TakenOverError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id stays refused: it must not write again, for that would fence the one which took over."""
    monkeypatch.setattr(module, "REJOIN", 0.2)
    made, _, writer = member()
    writer.refusal = refusal
    with pytest.raises(TakenOverError):
        made._write([], {HERE: Committed(1)}, dict(made._owned))


def test_a_member_that_is_refused_while_it_polls_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without anything to commit learns of the take-over by its polls."""
    monkeypatch.setattr(module, "REJOIN", 0.2)
    made, client, _ = member()

    def refuse() -> None:
        raise NameTakenError("refused")

    client.meanwhile = refuse
    with pytest.raises(TakenOverError):
        made._poll(10)
