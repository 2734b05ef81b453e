"""Ranges of which something is gone: what retention took, what compaction took, and what never was a record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from kafka import KafkaAdminClient, TopicPartition

from headrace.cli.main import main
from headrace.eventing.event import new_event
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics, is_compacted
from headrace.local.broker.settings import BrokerSettings
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60.0
"""Seconds until the broker has compacted."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that looks often whether there is something to compact."""
    folder = tmp_path_factory.mktemp("kafka")
    with running_broker(folder, BrokerSettings(retention_check_interval=0.2)) as bootstrap:
        compact = {"cleanup.policy": "compact", "segment.bytes": "2000", "min.cleanable.dirty.ratio": "0.01"}
        create_topics(bootstrap, [TopicSpec("states", 1, compact), TopicSpec("calls", 1)])
        yield bootstrap


@pytest.fixture
def headrace(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in a home of its own."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        written, told = capsys.readouterr()
        return int(ended.value.code or 0), written, told

    return call


def publish(kafka: str, topic: str, count: int, keys: int) -> None:
    """So many events of so many keys, in transactions of their own batches."""
    attributes = {"specversion": "1.0", "source": "/s", "type": "t"}
    for first in range(0, count, 10):
        with Publisher(kafka) as publisher:
            events = [
                new_event({**attributes, "id": str(n), "partitionkey": f"k{n % keys}"}, b"x" * 100)
                for n in range(first, min(count, first + 10))
            ]
            publisher.publish(topic, events)


def test_what_retention_took_is_named(kafka: str, headrace: Any) -> None:
    """Asked by time or by offset, the range says up to which offset it is gone; what nobody asked for is not told."""
    publish(kafka, "calls", 30, 3)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition("calls", 0): 12})
    admin.close()
    code, said, told = headrace("replay", "--topic", "calls", "--since", "1h", "--dry-run", "--output", "json")
    assert (code, orjson.loads(said)["chosen"]) == (0, 18)
    assert "calls/0: the oldest record is of 20" in told
    assert "up to offset 11, is gone: retention has removed it" in told
    _, _, told = headrace("replay", "--topic", "calls", "--offsets", "0:5-20", "--dry-run")
    assert "calls/0: offsets 5 to 11 are gone: retention has removed them" in told
    assert headrace("replay", "--topic", "calls", "--dry-run")[2] == ""


def test_what_compaction_took_is_counted(kafka: str, headrace: Any, tmp_path: Path) -> None:
    """A compacted topic is told from one whose records have expired, and the offsets without an event are counted."""
    publish(kafka, "states", 60, 2)
    deadline = time.monotonic() + PATIENCE
    while len(left := [record for record in read_topic(kafka, "states") if record]) >= 60:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (is_compacted(kafka, "states"), is_compacted(kafka, "calls")) == (True, False)
    code, said, told = headrace("record", "--topic", "states", "-o", str(tmp_path / "states.jsonl"))
    assert code == 0
    assert "states is compacted: of each key perhaps only the last record is left" in told
    recorded = int(said.split()[0])
    assert recorded <= len(left)
    assert f"{60 - recorded} offsets of the range have no event: compaction has removed it" in told
