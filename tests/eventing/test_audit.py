"""The audit: what is lost, late or twice is found and named, and nothing else is."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from headrace.cli.main import main
from headrace.eventing.audit import Order, Report, audit
from headrace.eventing.audit_table import Answer, Table
from headrace.eventing.codec.kafka import read_record, write_record
from headrace.eventing.deadletter import Failure, dead_letter
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.eventing.ledger import Ledger
from headrace.eventing.log import Committed, OutgoingRecord, Partition, Record
from headrace.eventing.results import ERROR_TYPE, Responder, error_event, result_event, result_id
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

ME = Responder("vision", "labels", "m", "1")
LATER = 120.0
"""Seconds: past every grace."""


def event(number: int | str, source: str = "/s") -> CloudEvent:
    """An event."""
    return new_event({"specversion": "1.0", "id": f"e{number}", "source": source, "type": "t"}, b"1")


@dataclass(slots=True)
class World:
    """Three topics with names of their own."""

    kafka: str
    producer: Any
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        create_topics(self.kafka, [TopicSpec(topic, 1) for topic in (self.events, self.results, self.dead)])

    @property
    def events(self) -> str:
        """Topic of events."""
        return f"in-{self.name}"

    @property
    def results(self) -> str:
        """Topic of answers."""
        return f"out-{self.name}"

    @property
    def dead(self) -> str:
        """Topic of dead letters."""
        return f"dead-{self.name}"

    def write(self, *records: OutgoingRecord) -> None:
        """Append records."""
        for record in records:
            self.producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
        self.producer.flush(timeout=30)

    def publish(self, *events: CloudEvent) -> None:
        """Append events."""
        self.write(*(write_record(one, self.events, trace={}) for one in events))

    def answer(self, *events: CloudEvent, identity: Responder = ME, error: bool = False) -> None:
        """Append an answer to each."""
        now = datetime.now(timezone.utc)
        made = (
            error_event(one, ValueError("no"), identity=identity, trace={}, now=now)
            if error
            else result_event(one, data=b"{}", content_type=None, identity=identity, trace={}, now=now)
            for one in events
        )
        self.write(*(write_record(one, self.results, trace={}) for one in made))

    def bury(self, *events: CloudEvent) -> None:
        """Append a dead letter of each, and its error event."""
        record = Record(Partition(self.events, 0), 0, 1, None, b"1")
        failure = Failure("exhausted", "no")
        self.write(*(dead_letter(record, one, failure, topic=self.dead, trace={}) for one in events))
        self.answer(*events, error=True)

    def audit(self, **more: object) -> Report:
        """The report, two minutes from now."""
        order = Order(events=self.events, results=self.results, dead_letters=self.dead, **more)  # type: ignore[arg-type]  # the test's own fields
        return audit(self.kafka, order, now=time.time() + LATER)

    def named(self, report: Report) -> Counter[tuple[str, str]]:
        """Kind and id of every finding."""
        return Counter((one.kind, one.id) for one in report.findings)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded broker."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="module")
def producer(broker: str) -> Iterator[Any]:
    """A producer of records."""
    made = KafkaProducer(bootstrap_servers=broker, linger_ms=0)
    yield made
    made.close(timeout=5)


@pytest.fixture
def world(broker: str, producer: Any) -> World:
    """Three empty topics."""
    return World(broker, producer)


def test_a_sound_pair_of_topics_is_sound(world: World) -> None:
    """Every event answered once, one of them by a dead letter and its error event: nothing lost, nothing twice."""
    events = [event(number) for number in range(50)]
    world.publish(*events)
    world.answer(*events[1:])
    world.bury(events[0])
    report = world.audit()
    assert report.sound
    assert (report.events, report.answers, report.errors) == (50, 50, 1)
    assert report.counts == Counter({"dead-lettered": 1})
    assert world.named(report) == Counter({("dead-lettered", "e0"): 1})


def test_each_kind_is_found_and_named(world: World) -> None:
    """Lost, twice by one id, twice by two ids, orphan: by id, source and place, the answers' ids with them."""
    events = [event(number) for number in range(6)]
    world.publish(*events)
    world.answer(*events[:5], events[1], event("nobody"))
    world.answer(events[2], identity=Responder("vision", "labels", "m", "2"))
    report = world.audit()
    assert not report.sound
    assert world.named(report) == Counter(
        {("lost", "e5"): 1, ("duplicate", "e1"): 1, ("duplicate", "e2"): 1, ("orphan", "enobody"): 1}
    )
    by_id = {one.id: one for one in report.findings}
    assert (by_id["e5"].source, by_id["e5"].place) == ("/s", f"{world.events}/0/5")
    assert f"{result_id(events[1], ME)} x2" in by_id["e1"].detail
    assert by_id["e2"].detail.count(",") == 1
    assert report.responders == {ME.source: 8}


def test_an_event_without_answer_is_lost_only_after_the_grace(world: World) -> None:
    """Before, it is on its way."""
    world.publish(event(1))
    assert world.audit().counts == Counter({"lost": 1})
    report = world.audit(grace=3600.0)
    assert report.counts == Counter({"pending": 1})
    assert report.sound


def test_what_the_group_has_not_done_is_pending_however_old(world: World) -> None:
    """A backlog is no loss; what is done beyond the committed offset, out of order, and has no answer is one."""
    world.publish(*(event(number) for number in range(5)))
    ledger = Ledger(Committed(0))
    for offset in range(5):
        ledger.admit(offset)
    # 0 and 3 are done, 1, 2 and 4 are not.
    progress = ledger.progress({0, 3})
    assert progress.offset == 1
    _commit(world, progress)
    report = world.audit(group=f"group-{world.name}")
    assert world.named(report) == Counter(
        {("lost", "e0"): 1, ("lost", "e3"): 1, ("pending", "e1"): 1, ("pending", "e2"): 1, ("pending", "e4"): 1}
    )
    assert world.audit(group="nobody").counts == Counter({"pending": 5})


def _commit(world: World, progress: Committed) -> None:
    """Commit as the dispatcher does: with what is done beyond the offset as metadata."""
    consumer = KafkaConsumer(bootstrap_servers=world.kafka, group_id=f"group-{world.name}", enable_auto_commit=False)
    consumer.commit({TopicPartition(world.events, 0): OffsetAndMetadata(progress.offset, progress.metadata, -1)})
    consumer.close(autocommit=False)


def test_an_event_that_was_sent_back_may_be_answered_again(world: World) -> None:
    """Failed, redriven, answered: two events, an error and a result. Redriven and never answered: lost."""
    world.publish(event(1), event(2), event(1), event(2))
    world.bury(event(1), event(2))
    world.answer(event(1))
    report = world.audit()
    assert (report.events, report.repeated) == (4, 2)
    assert world.named(report) == Counter({("lost", "e2"): 1, ("dead-lettered", "e1"): 1, ("dead-lettered", "e2"): 1})


def test_ids_are_unique_with_their_source_only(world: World) -> None:
    """Three sources use the same id; the answer names an id, its own id tells whose it is."""
    events = [event(1, source) for source in ("/a", "/b", "/c")]
    world.publish(*events)
    world.answer(events[2], events[0], events[0])
    report = world.audit()
    assert Counter((one.kind, one.source) for one in report.findings) == Counter([("lost", "/b"), ("duplicate", "/a")])


def test_records_that_are_no_events_are_audited_too(world: World) -> None:
    """A plain record is known by its place, whoever wraps it, and also after it was sent back."""
    world.write(OutgoingRecord(world.events, None, b"a"), OutgoingRecord(world.events, None, b"b"))
    with Scanner(world.kafka) as scanner:
        wrapped = [read_record(record, namespace="vision", name="labels") for record in scanner.topic(world.events)]
    world.answer(wrapped[0])
    world.bury(wrapped[1])
    world.publish(wrapped[1])
    world.answer(wrapped[1])
    report = world.audit()
    assert report.counts == Counter({"dead-lettered": 1})
    assert report.repeated == 1


def test_late_answers_and_a_filter_and_a_source(world: World) -> None:
    """--late is from event to answer; what the filter leaves out needs none; answers of other sources do not count."""
    world.publish(event(1), event(2, "/other"))
    world.answer(event(1))
    world.answer(event(1), identity=Responder("vision", "other", "m", "1"))
    report = world.audit(late=-1.0, matches=lambda attributes: attributes["source"] == "/s", responder=ME.source)
    assert report.sound
    assert (report.events, report.unwanted, report.answers, report.unrelated) == (1, 1, 1, 1)
    assert world.named(report) == Counter({("late", "e1"): 1})
    assert world.audit(late=60.0).counts["late"] == 0


def test_since_leaves_the_past_alone(world: World) -> None:
    """What was published before does not count, and an answer to it is no orphan."""
    world.publish(event(1))
    world.answer(event(2))
    future = datetime.now(timezone.utc) + timedelta(minutes=5)
    assert world.audit(since=future).counts == Counter()
    assert world.audit().counts == Counter({"lost": 1, "orphan": 1})


def test_all_are_counted_and_a_few_named(world: World) -> None:
    """A topic of a million lost events must not print a million lines."""
    world.publish(*(event(number) for number in range(30)))
    report = world.audit(limit=3)
    assert report.counts["lost"] == 30
    assert [one.id for one in report.findings] == ["e0", "e1", "e2"]


def test_the_command_says_it_and_exits_by_it(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """0 when sound, 1 when not, 2 for a topic that is not there; a table for people, an object for programs."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    world.publish(event(1), event(2))
    world.answer(event(1))

    def give(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["audit", "--kafka", world.kafka, *words])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    topics = ("--input", world.events, "--results", world.results)
    code, out, _ = give(*topics, "--grace", "0s")
    assert (code, "e2  /s" in out, "lost" in out) == (1, True, True)
    code, out, _ = give(*topics, "--output", "json")
    found = json.loads(out)
    assert (code, found["sound"], found["counts"]["pending"], found["events"]) == (0, True, 1, 2)
    code, _, told = give("--input", "nowhere", "--results", world.results)
    assert (code, "There is no topic 'nowhere'" in told) == (2, True)


def test_memory_is_bounded_by_digests(tmp_path: object) -> None:
    """An event of any size takes the same; a table of 20,000 takes under 5 MB."""
    import tracemalloc  # noqa: PLC0415  # slows everything down while it is imported and on

    tracemalloc.start()
    table = Table()
    for number in range(20_000):
        table.request(f"{number}" + "x" * 200, "/s", at=1, partition=0, offset=number)
    for number in range(20_000):
        causation = f"{number}" + "x" * 200
        table.answer(Answer(f"r{number}", causation, ERROR_TYPE, ME, 2, 0, number))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 20_000
    assert used < 5_000_000


def test_a_shared_id_costs_no_more_than_another() -> None:
    """5,000 devices that all count from one: no walk over all of them for each event."""
    table = Table()
    for device in range(5000):
        table.request("1", f"/device/{device}", at=1, partition=0, offset=device)
    began = time.process_time()
    for device in range(5000):
        request = CloudEvent({"id": "1", "source": f"/device/{device}"})
        table.answer(Answer(result_id(request, ME, kind=ERROR_TYPE), "1", ERROR_TYPE, ME, 2, 0, device))
    assert set(table.answered) == {1}
    assert time.process_time() - began < 2


def test_work_that_goes_on_meanwhile_is_neither_lost_nor_orphaned(world: World) -> None:
    """An event published and answered while the audit reads: its answer is no orphan, a later one is no loss."""
    world.publish(event(1))
    world.answer(event(1))

    def meanwhile(attributes: object) -> bool:
        if not done:
            done.append(True)
            world.publish(event(2), event(3))
            world.answer(event(2))
        return True

    done: list[bool] = []
    report = world.audit(matches=meanwhile)
    assert (report.events, report.answers) == (3, 2)
    assert report.counts == Counter({"pending": 1})
