"""A broker with dead letters on it, and the commands as a user gives them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaProducer

from headrace.cli.main import main
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.deadletter import Failure, Reason, dead_letter
from headrace.eventing.event import new_event
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.eventing.log import OutgoingRecord, Partition, Record
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from headrace.eventing.event import CloudEvent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass(frozen=True, slots=True)
class Letters:
    """A topic of events and its dead letters, with names of their own."""

    kafka: str
    topic: str
    name: str
    producer: Any
    scanner: Scanner
    """One for all tests: kafka-python leaks a socket now and then where a consumer is closed right after its start."""

    def write(self, records: Sequence[OutgoingRecord]) -> None:
        """Append records."""
        for record in records:
            self.producer.send(record.topic, record.value, key=record.key, headers=list(record.headers))
        self.producer.flush(timeout=30)

    def letter(self, number: int, reason: Reason = "exhausted", data: bytes | None = None) -> OutgoingRecord:
        """The dead letter of an event; even numbers are pictures, odd ones texts."""
        kind = "text" if number % 2 else "picture"
        key = f"k{number % 7}"
        base = {"specversion": "1.0", "id": f"e{number}", "source": "/s", "type": kind, "partitionkey": key}
        event = new_event(base, data if data is not None else b'{"n":%d}' % number)
        record = Record(Partition(self.topic, 0), number, 1_700_000_000_000, key.encode(), event.data, (("own", b"1"),))
        failure = Failure(reason, "it hurts\x1b[31m", status=503, attempts=5, first=1.7e9, last=1.7e9 + 60)
        return dead_letter(record, event, failure, topic=self.name, trace={"traceparent": TRACE})

    def add(self, *numbers: int, reason: Reason = "exhausted") -> None:
        """Append the letters of these events."""
        self.write([self.letter(number, reason) for number in numbers])

    def sent(self, topic: str | None = None) -> list[CloudEvent]:
        """Every committed event of a topic."""
        found = self.scanner.topic(topic or self.topic)
        return [read_record(record, namespace="", name="") for record in found]

    def ids(self, topic: str | None = None) -> list[str]:
        """The ids of these, sorted."""
        return sorted(event.id for event in self.sent(topic))


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


@pytest.fixture(scope="module")
def scanner(broker: str) -> Iterator[Scanner]:
    """A reader of topics."""
    with Scanner(broker) as made:
        yield made


@pytest.fixture
def letters(broker: str, producer: Any, scanner: Scanner) -> Letters:
    """Two empty topics."""
    name = f"in-{uuid.uuid4().hex[:8]}"
    create_topics(broker, [TopicSpec(name, 2), TopicSpec(f"{name}.dead-letters", 1)])
    return Letters(broker, name, f"{name}.dead-letters", producer, scanner)


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Its output as one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def headrace(
    letters: Letters, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Said]:
    """Gives ``headrace dead-letters WORDS`` in an empty folder."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", letters.kafka)
    monkeypatch.chdir(tmp_path)

    def give(*words: str, topic: str | None = letters.name) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["dead-letters", *words, *(["--topic", topic] if topic else [])])
        told = capsys.readouterr()
        return Said(int(ended.value.code or 0), told.out, told.err)

    return give
