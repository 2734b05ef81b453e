"""``headrace dead-letters`` as a user drives it, over an embedded broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from headrace.eventing.deadletter import Failure, dead_letter
from headrace.eventing.deadletters.handled import marks_topic, read_handled
from headrace.eventing.deadletters.handling import Order, _Run, handle
from headrace.eventing.deadletters.letter import Place
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.topics import TopicSpec, create_topics, topic_names
from headrace.eventing.log import OutgoingRecord, Partition, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.eventing.event import CloudEvent

    Give = Callable[..., Any]
    Letters = Any

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
APP = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {{name: labels, namespace: vision}}
spec:
  predictor: {{class: my.models:Model}}
  trigger: {{topic: {topic}}}
  results: {{topic: {topic}.labels}}
"""


def test_list_shows_what_waits_and_why(headrace: Give, letters: Letters) -> None:
    """Every column of the table, every field of the JSON; filters by reason, time and id's place narrow it."""
    letters.add(1, 2)
    letters.add(3, reason="rejected")
    listed = headrace("list")
    assert listed.code == 0
    for part in ("e1", "/s", "text", "exhausted", "503", f"{letters.name}/0/0"):
        assert part in listed.out
    assert [line["id"] for line in headrace("list", "--output", "json").lines] == ["e1", "e2", "e3"]
    (one,) = headrace("list", "--reason", "rejected", "--output", "json").lines
    assert (one["id"], one["attempts"], one["status"], one["offset"]) == ("e3", 5, 503, 2)
    assert one["from"] == {"topic": letters.topic, "partition": 0, "offset": 3}
    assert headrace("list", "--until", "1h", "--output", "json").lines == []
    assert len(headrace("list", "--since", "1h", "--output", "json").lines) == 3
    assert "1 not shown" in headrace("list", "--limit", "2").err


def test_a_filter_sees_the_event_and_its_failure(headrace: Give, letters: Letters) -> None:
    """CESQL chooses by the event's own attributes, by those of the failure, and by how often it was sent back."""
    letters.add(1, 2, 3)
    letters.add(4, reason="rejected")
    letters.write([OutgoingRecord(letters.name, None, b"x")])  # no letter: it has no hrattempts

    def chosen(expression: str) -> list[str]:
        return [line["id"] for line in headrace("list", "--filter", expression, "--output", "json").lines]

    assert chosen("type = 'text'") == ["e1", "e3"]
    assert chosen("type LIKE 'p%' AND hrreason = 'exhausted'") == ["e2"]
    assert chosen("hrattempts > 4") == ["e1", "e2", "e3", "e4"]
    assert chosen("hrattempts > 5") == []
    assert headrace("redrive", "--filter", "id IN ('e1', 'e4')").code == 0
    assert letters.ids() == ["e1", "e4"]
    letters.write([again(letters.sent()[0], letters)])
    assert chosen("EXISTS hrredrives") == [letters.sent()[0].id]
    assert letters.sent()[0].id not in chosen("NOT EXISTS hrredrives OR hrredrives < 1")


def again(event: CloudEvent, letters: Letters) -> OutgoingRecord:
    """The letter of an event that was sent back and failed again."""
    record = Record(Partition(letters.topic, 0), 0, 1_700_000_000_000, None, event.data)
    return dead_letter(record, event, Failure("exhausted", "no"), topic=letters.name, trace={})


def test_show_says_everything_and_steers_no_terminal(headrace: Give, letters: Letters) -> None:
    """Attributes, the error in words, the data, the way to the trace; an escape sequence in them does nothing."""
    letters.write([letters.letter(1), letters.letter(2, data=b"\x89PNG\r\n\xff"), letters.letter(3, data=b"words")])
    shown = headrace("show", "e1")
    assert shown.code == 0
    for part in ("hrreason", "it hurts", '"n": 1', f"headrace trace {TRACE_ID}", "waiting"):
        assert part in shown.out
    assert "\x1b" not in shown.out
    assert "89 50 4e 47" in headrace("show", "0/1").out
    assert "5 bytes of text:\nwords" in headrace("show", "e3").out
    assert headrace("show", "e1", "--output", "json").lines[0]["data_base64"] == "eyJuIjoxfQ=="
    missing = headrace("show", "e9")
    assert missing.code == 2
    assert "no letter 'e9'" in missing.err


def test_redrive_sends_each_letter_once(headrace: Give, letters: Letters) -> None:
    """The originals come back to their topic with their trace; a second run sends none, the list is empty."""
    letters.add(*range(150))
    (first,) = headrace("redrive", "--output", "json").lines
    assert (first["redriven"], first["already"], first["destinations"]) == (150, 0, {letters.topic: 150})
    (second,) = headrace("redrive", "--output", "json").lines
    assert (second["redriven"], second["already"]) == (0, 150)
    assert letters.ids() == sorted(f"e{number}" for number in range(150))
    event = next(event for event in letters.sent() if event.id == "e3")
    assert (event.data, event.get("hrredrive"), event.get("hrreason")) == (b'{"n":3}', first["run"], "")
    assert event.get("traceparent").split("-")[1] == TRACE_ID
    assert headrace("list", "--output", "json").lines == []
    handled = headrace("list", "--all", "--output", "json").lines
    assert {line["handled"]["action"] for line in handled} == {"redriven"}


@pytest.mark.parametrize("arrived", [True, False], ids=["the commit arrived", "the commit got lost"])
def test_a_run_that_lost_its_broker_is_taken_up(
    headrace: Give, letters: Letters, monkeypatch: pytest.MonkeyPatch, *, arrived: bool
) -> None:
    """A commit without an answer may have come through or not: the next run knows, and sends each letter once."""
    letters.add(*range(150))
    commit = KafkaProducer.commit_transaction
    commits: list[KafkaProducer] = []

    def unanswered(producer: KafkaProducer) -> None:
        commits.append(producer)
        if arrived or len(commits) != 2:
            commit(producer)
        if len(commits) == 2:
            raise KafkaTimeoutError("no answer")

    monkeypatch.setattr(KafkaProducer, "commit_transaction", unanswered)
    lost = headrace("redrive")
    assert (lost.code, "run the same command again" in lost.err) == (1, True)
    (again,) = headrace("redrive", "--output", "json").lines
    assert again["redriven"] == (0 if arrived else 50)
    assert letters.ids() == sorted(f"e{number}" for number in range(150))


def test_what_a_filter_leaves_out_waits_for_a_later_run(headrace: Give, letters: Letters) -> None:
    """Letters in any pattern may be handled first: the holes stay, and are found."""
    letters.add(*range(9))
    assert headrace("redrive", "e2", "0/5", "e7").code == 0
    assert letters.ids() == ["e2", "e5", "e7"]
    (rest,) = headrace("redrive", "--output", "json", "--limit", "4").lines
    assert (rest["redriven"], rest["already"]) == (4, 2)
    assert headrace("redrive").code == 0
    assert letters.ids() == sorted(f"e{number}" for number in range(9))


def test_a_dry_run_writes_nothing(headrace: Give, letters: Letters) -> None:
    """Not an event, not a mark, not even a topic."""
    letters.add(1, 2)
    done = headrace("redrive", "--dry-run")
    assert (done.code, "2 would be redriven" in done.out) == (0, True)
    assert letters.ids() == []
    assert marks_topic(letters.name).name not in topic_names(letters.kafka)


def test_drop_hides_and_deletes_nothing(headrace: Give, letters: Letters) -> None:
    """Dropped letters are not listed and not sent back, until that is asked for; dropping all must be said."""
    letters.add(*range(4))
    assert headrace("drop").code == 2
    assert headrace("drop", "e1", "e2").code == 0
    assert [line["id"] for line in headrace("list", "--output", "json").lines] == ["e0", "e3"]
    assert len(headrace("list", "--all", "--output", "json").lines) == 4
    assert headrace("redrive").code == 0
    assert letters.ids() == ["e0", "e3"]
    assert headrace("redrive", "--dropped").code == 0
    assert headrace("redrive", "--dropped").code == 0
    assert letters.ids() == ["e0", "e1", "e2", "e3"]
    (all_,) = headrace("drop", "--all", "--output", "json").lines
    assert (all_["dropped"], all_["already"]) == (0, 4)


def test_letters_can_go_elsewhere_by_topic_or_app(headrace: Give, letters: Letters, tmp_path: Path) -> None:
    """``--to`` takes a topic, or an app of the file, whose topic is meant; ``--app`` finds the app's letters."""
    other = f"{letters.topic}-other"
    create_topics(letters.kafka, [TopicSpec(other, 1)])
    letters.add(1, 2)
    assert headrace("redrive", "e1", "--to", other).code == 0
    assert letters.ids(other) == ["e1"]
    (tmp_path / "headrace.yaml").write_text(APP.format(topic=letters.topic))
    done = headrace("redrive", "--to", "labels", "--app", "labels", "-f", "headrace.yaml", topic=None)
    assert done.code == 0
    assert letters.ids() == ["e2"]
    unknown = headrace("list", "--app", "nobody", topic=None)
    assert (unknown.code, "it has labels" in unknown.err) == (2, True)


def test_letters_that_cannot_go_are_named_and_wait(headrace: Give, letters: Letters) -> None:
    """No origin, an origin that is no topic: exit code 1, each with the remedy; the others are sent."""
    letters.add(1)
    foreign = OutgoingRecord(letters.name, None, b"x", (("own", b"1"),))
    gone = letters.letter(2)
    away = tuple((n, b"gone" if n == "ce_hrtopic" else v) for n, v in gone.headers)
    letters.write([foreign, OutgoingRecord(letters.name, gone.key, gone.value, away)])
    done = headrace("redrive")
    assert done.code == 1
    assert "give --to TOPIC" in done.out
    assert "there is no topic 'gone'" in done.out
    assert letters.ids() == ["e1"]
    assert len(headrace("list", "--output", "json").lines) == 2


def test_a_letter_too_large_stops_no_other(headrace: Give, letters: Letters) -> None:
    """Of a transaction that the broker refuses, every letter is tried by itself; the large one waits, named."""
    small = f"{letters.topic}-small"
    create_topics(letters.kafka, [TopicSpec(small, 1, {"max.message.bytes": "2000"})])
    letters.write([letters.letter(1), letters.letter(2, data=b"x" * 5000), letters.letter(3)])
    done = headrace("redrive", "--to", small)
    assert done.code == 1
    assert "e2 at 0/1" in done.out
    assert letters.ids(small) == ["e1", "e3"]
    assert [line["id"] for line in headrace("list", "--output", "json").lines] == ["e2"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list", "--filter", "type = "], "the filter has a mistake at column"),
        (["list", "--since", "soon"], "--since 'soon' is no time"),
        (["redrive", "--rate", "fast"], "--rate 'fast' is no rate"),
        (["list", "--topic", "nowhere"], "There is no topic 'nowhere'"),
        (["list", "--app", "a"], "say the same twice"),
    ],
)
def test_mistakes_are_told(headrace: Give, letters: Letters, words: list[str], told: str) -> None:
    """Exit code 2 and a sentence."""
    done = headrace(*words, topic=None if "--topic" in words else letters.name)
    assert (done.code, told in done.err) == (2, True)


def test_marks_of_letters_that_are_gone_are_forgotten(letters: Letters) -> None:
    """Retention takes letters away; the next run takes their marks away too, and leaves the others."""
    letters.add(1, 2)
    handle(letters.kafka, Order(letters.name))
    run = _Run(letters.kafka, Order(letters.name), bucket=None, known=())
    with Scanner(letters.kafka) as scanner:
        run.open(scanner, {0: 1})
        run.close()
        assert read_handled(scanner, letters.name).before({0: 99}) == [Place(0, 1)]
