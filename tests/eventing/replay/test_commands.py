"""``headrace record`` and ``headrace replay`` as a user calls them, over a real broker and a real receiver."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson
import psutil
import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from tests.eventing.replay.conftest import receiving

from headrace.cli.main import main
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.event import new_event
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.topics import TopicSpec, create_topics, group_progress
from headrace.eventing.log import Partition
from headrace.eventing.replay.places.place import place_of
from headrace.local.state import Home, RunningApp, State, created
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.eventing.replay.conftest import Receiver

EVENTS = 300
KILLS = 2
PATIENCE = 60.0
"""Seconds for any one command."""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a topic ``calls`` of 300 events in three partitions."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as bootstrap:
        create_topics(bootstrap, [TopicSpec("calls", 3)])
        with Publisher(bootstrap) as publisher:
            publisher.publish("calls", [_event(number) for number in range(EVENTS)])
        yield bootstrap


def _event(number: int) -> Any:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}
    return new_event({**attributes, "partitionkey": f"k{number % 7}"}, b"call")


class Headrace:
    """The command, in a home of its own."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A process of it."""
        command = [sys.executable, "-m", "headrace.cli.main", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Its exit code and what it wrote; in this process, for a new one takes a second."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        written, told = self._capture.readouterr()
        return int(ended.value.code or 0), written, told


@pytest.fixture
def headrace(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Headrace:
    """The command."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    return Headrace(capsys)


def summary(written: str) -> dict[str, Any]:
    """What a run said of itself."""
    found: dict[str, Any] = orjson.loads(written)
    return found


def answered(kafka: str, topic: str) -> list[str]:
    """The ids of the committed answers."""
    return sorted(read_record(r, namespace="", name="").id for r in read_topic(kafka, topic) if r)


def test_a_topic_is_recorded_and_the_recording_replayed(headrace: Headrace, receiver: Receiver, tmp_path: Path) -> None:
    """The recording has every event in the order of time; replayed, each is answered once, into a file."""
    recording, results = tmp_path / "calls.jsonl", tmp_path / "answers.jsonl"
    code, said, told = headrace.run("record", "--topic", "calls", "-o", str(recording))
    assert (code, told) == (0, "")
    assert "300 events of calls" in said
    places = [orjson.loads(line) for line in recording.read_bytes().splitlines()]
    assert {p["id"] for p in places} == set(map(str, range(EVENTS)))
    assert [p["hrtimestamp"] for p in places] == sorted(p["hrtimestamp"] for p in places)
    code, said, told = headrace.run(
        *("replay", "--recording", str(recording), "--to", receiver.url, "--results", str(results), "--output", "json")
    )
    assert code == 0, told
    assert (summary(said)["answered"], summary(said)["failed"], summary(said)["complete"]) == (EVENTS, 0, True)
    assert sorted(receiver.got, key=int) == list(map(str, range(EVENTS)))
    assert len({orjson.loads(line)["id"] for line in results.read_bytes().splitlines()}) == EVENTS


def test_kill_9_at_random_points_changes_no_answer(headrace: Headrace, receiver: Receiver, kafka: str) -> None:
    """Killed and resumed until it is through, a run leaves the same answers, to the id, as an undisturbed one."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it with a failure
    dice = random.Random(seed)  # when to kill, no secret
    whole, parts = f"whole-{seed}", f"parts-{seed}"
    code, _, told = headrace.run("replay", "--topic", "calls", "--to", receiver.url, "--results", whole)
    assert code == 0, told
    process = headrace.start(
        *("replay", "--topic", "calls", "--to", receiver.url, "--results", parts, "--rate", "150/s")
    )
    assert process.stderr is not None
    run = process.stderr.readline().split()[1].rstrip(":")
    kills = 0
    for _ in range(KILLS):
        _wait_for(receiver, len(receiver.got) + dice.randint(5, 60), process)
        kills += process.poll() is None
        process.kill()
        process.communicate()
        process = headrace.start("replay", "--resume", run)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert kills, "at least one life was cut short"
    assert answered(kafka, parts) == answered(kafka, whole)


def test_a_run_is_compared_with_an_earlier_one(headrace: Headrace, receiver: Receiver, tmp_path: Path) -> None:
    """``--against`` and ``--gate``: the same model answers the same, and its times can be asked for."""
    first, page = str(tmp_path / "first.jsonl"), tmp_path / "page.html"
    replay = ("replay", "--topic", "calls", "--limit", "40", "--to", receiver.url)
    assert headrace.run(*replay, "--results", first)[0] == 0
    code, said, told = headrace.run(
        *(*replay, "--results", str(tmp_path / "second.jsonl"), "--against", first),
        *("--gate", "changed=0, missing=0, p99<60s", "--html", str(page)),
    )
    assert (code, page.exists()) == (0, True), told
    assert "40 events answered by both; 0 by A alone, 0 by B alone" in said
    assert "99 %" in said
    assert headrace.run(*replay, "--results", f"compared-{receiver.url[-6:-1]}", "--against", first)[0] == 0
    assert headrace.run(*replay, "--against", first)[0] == 0, "without a place of their own, the run keeps its answers"


def test_another_revision_answers_the_same_events(headrace: Headrace, receiver: Receiver) -> None:
    """``--against URL``: both get the same events, marked as two runs, and what differs is told by name."""
    replay = ("replay", "--topic", "calls", "--sample", "30%", "--to", receiver.url)
    with receiving() as other:
        other.change = lambda data: data.upper() + b"!"
        code, said, told = headrace.run(*replay, "--against", other.url, "--gate", "changed=0", "--output", "json")
        assert code == 1, told
        assert sorted(receiver.got) == sorted(other.got)
        (mark,), (other_mark,) = receiver.marks, other.marks
        assert other_mark == f"{mark}-against"
        *_, found = map(orjson.loads, said.splitlines())
        assert (found["both"], found["counts"]["changed"], found["a"]) == (len(other.got), len(other.got), other.url)
        seen = len(other.got)
        assert headrace.run("replay", "--resume", mark, "--output", "json")[0] == 0, "compared again, without the gate"
        assert len(other.got) == seen, "nobody is asked twice"


def test_an_app_that_is_up_answers_both_ways(headrace: Headrace, receiver: Receiver, kafka: str) -> None:
    """``--app`` and ``--against app:NAME`` find the ingress of the running twin; its live topic is not written to."""
    home, here = Home.of(), os.getpid()
    with receiving() as other:
        other.change = bytes.lower
        apps = (RunningApp("new", "ns", ("calls",), "live"), RunningApp("old", "ns", ("calls",), "live"))
        address = receiver.url.rstrip("/")
        home.write(State(here, created(here) or 0, kafka, address, address, "", "", apps))
        code, said, told = headrace.run("replay", "--app", "new", "--limit", "9", "--against", "app:old")
        assert code == 0, told
        assert f"{address}/ns/new/" in told
        assert "same" in said
        assert len(receiver.got) == 18
        for words, says in (
            (("--app", "none"), "has no app 'none'"),
            (("--app", "new", "--against", "app:none"), "has no app 'none'"),
            (("--app", "new", "--results", "live"), "has the answers of a running app"),
        ):
            code, _, told = headrace.run("replay", "--topic", "calls", *words)
            assert (code, says in told) == (2, True), told
        assert headrace.run("replay", "--app", "new", "--limit", "2", "--results", "live", "--live")[0] == 0


def test_a_run_is_paused_and_goes_on(headrace: Headrace, receiver: Receiver) -> None:
    """``headrace pause RUN`` holds the rest back in the running process, ``resume`` lets it go: each event once."""
    process = headrace.start("replay", "--topic", "calls", "--to", receiver.url, "--rate", "60/s", "--output", "json")
    assert process.stderr is not None
    run = process.stderr.readline().split()[1].rstrip(":")
    _wait_for(receiver, 5, process)
    assert "is paused" in headrace.run("pause", run)[1]
    seen, since, deadline = len(receiver.got), time.monotonic(), time.monotonic() + PATIENCE
    while time.monotonic() - since < 1:
        assert time.monotonic() < deadline
        if len(receiver.got) != seen:
            seen, since = len(receiver.got), time.monotonic()
    assert seen < EVENTS
    assert process.poll() is None
    assert "goes on" in headrace.run("resume", run)[1]
    said, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, summary(said)["answered"]) == (0, EVENTS), told
    assert len(receiver.got) == EVENTS


def test_a_person_sees_how_far_it_is(headrace: Headrace, receiver: Receiver) -> None:
    """On a terminal a bar with the count, the rate, what failed and the time that is left; standard output is clean."""
    ours, theirs = pty.openpty()
    words = ("replay", "--topic", "calls", "--to", receiver.url, "--rate", "100/s", "--output", "json")
    command = [sys.executable, "-m", "headrace.cli.main", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "COLUMNS": "120"})
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last process
        while chunk := os.read(ours, 1 << 16):
            shown += chunk
    os.close(ours)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, shown
    assert summary(said.decode())["answered"] == EVENTS
    told = shown.decode()
    assert re.search(r"\d+/300", told), told
    assert re.search(r"\d+/s, 0 failed", told), told
    assert re.search(r"0:00:\d\d", told), told


def test_the_live_group_is_asked_and_never_moved(headrace: Headrace, receiver: Receiver, kafka: str) -> None:
    """``--group`` replays what the group has done, and the group stands where it stood."""
    partitions = [Partition("calls", number) for number in range(3)]
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id="live", enable_auto_commit=False)
    consumer.assign([TopicPartition(*partition) for partition in partitions])
    consumer.commit({TopicPartition("calls", 0): OffsetAndMetadata(7, "", -1)})
    consumer.close()
    before = group_progress(kafka, "live", partitions)
    code, said, told = headrace.run(
        *("replay", "--topic", "calls", "--group", "live", "--to", receiver.url, "--output", "json")
    )
    assert (code, summary(said)["answered"], len(receiver.got)) == (0, 7, 7), told
    assert group_progress(kafka, "live", partitions) == before
    assert before[partitions[0]].offset == 7


MODEL = """
import os

from kserve import Model


class Shout(Model):
    def predict(self, payload, headers=None):
        told = os.environ.get("TOLD", "")
        return {"predictions": [{"label": str(item).upper() + told} for item in payload["instances"]]}
"""


def test_a_model_is_started_for_the_run_alone(headrace: Headrace, tmp_path: Path) -> None:
    """``--class``: the server is there for the run, answers, and is gone; a class that does not load is named."""
    (tmp_path / "shout.py").write_text(MODEL)
    (tmp_path / "calls.jsonl").write_text(
        '{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json",'
        '"data":{"instances":["call"]}}\n'
    )
    results = tmp_path / "answers.jsonl"
    before = set(psutil.Process().children(recursive=True))
    order = ("replay", "--recording", str(tmp_path / "calls.jsonl"), "--results", str(results))
    code, said, told = headrace.run(*order, "--class", f"{tmp_path}/shout.py:Whisper")
    assert (code, "The predictor of this replay did not start" in told, "Whisper" in told) == (1, True, True), told
    results.unlink(missing_ok=True)
    shout = f"{tmp_path}/shout.py:Shout"
    code, said, told = headrace.run(
        *order, "--class", shout, "--env", "TOLD=!", "--against", f"class:{shout}", "--against-env", "TOLD=?"
    )
    assert code == 0, told
    assert "1 answered, 0 failed" in said
    assert orjson.loads(results.read_bytes())["data"] == {"predictions": [{"label": "CALL!"}]}
    assert "CALL? -> CALL!" in said
    assert set(psutil.Process().children(recursive=True)) <= before, "the server is gone"


def _wait_for(receiver: Receiver, count: int, process: subprocess.Popen[str]) -> None:
    """Until it has got so many events, or the process is at its end."""
    deadline = time.monotonic() + PATIENCE
    while len(receiver.got) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_part_of_a_topic(headrace: Headrace, receiver: Receiver) -> None:
    """Offsets, a share and a limit; the share is the same in every run, and --dry-run sends nothing."""
    code, said, _ = headrace.run("replay", "--topic", "calls", "--offsets", "0:0-9,2:5-7", "--dry-run")
    assert (code, said.split()[0]) == (0, "13")
    first, second = (
        headrace.run("replay", "--topic", "calls", "--sample", "20%", "--dry-run", "--output", "json")[1]
        for _ in range(2)
    )
    assert first == second
    assert 20 < summary(first)["chosen"] < 110
    assert receiver.got == []
    code, said, _ = headrace.run(
        *("replay", "--topic", "calls", "--limit", "12", "--to", receiver.url, "--output", "json")
    )
    assert (code, summary(said)["answered"], len(receiver.got)) == (0, 12, 12)


def test_time_and_group_bound_a_range(headrace: Headrace, kafka: str) -> None:
    """Nothing is there from before the topic, all of it since; a group that has done nothing bounds it to nothing."""
    for words, expected in (
        (("--since", "1h"), EVENTS),
        (("--until", "1h"), 0),
        (("--since", "1h", "--until", "30m"), 0),
        (("--group", "nobody"), 0),
    ):
        code, said, _ = headrace.run("replay", "--topic", "calls", *words, "--dry-run", "--output", "json")
        assert (code, summary(said)["chosen"]) == (0, expected), words
    assert group_progress(kafka, "nobody", [Partition("calls", 0)]) == {}, "a group is asked, and never moved"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--recording", "none.jsonl", "--to", "http://127.0.0.1:1/"), "/none.jsonl (`headrace record` makes one)"),
        (("--topic", "none", "--to", "http://127.0.0.1:1/"), "There is no topic 'none'"),
        (("--topic", "calls", "--offsets", "9:0-1", "--to", "http://127.0.0.1:1/"), "calls has no partition 9"),
        (("--topic", "calls", "--offsets", "0:9-1", "--to", "http://127.0.0.1:1/"), "is no range"),
        (("--topic", "calls", "--sample", "200%", "--to", "http://127.0.0.1:1/"), "is no share"),
        (("--topic", "calls", "--filter", "type =", "--to", "http://127.0.0.1:1/"), "column 7"),
        (("--topic", "calls", "--rate", "5/s", "--speed", "2", "--to", "http://127.0.0.1:1/"), "two paces"),
        (("--topic", "calls", "--to", "127.0.0.1:1"), "is no URL"),
        (("--topic", "calls"), "Nothing is up in"),
        (("--topic", "calls", "--dead-letters", "--to", "http://127.0.0.1:1/"), "are two topics"),
        (("--topic", "calls", "--attribute", "a=b", "--to", "http://127.0.0.1:1/"), "for the files of a folder"),
        (("--topic", "calls", "--model", "file:///x", "--to", "http://127.0.0.1:1/"), "give it with --class"),
        (("--topic", "calls", "--env", "A=1", "--to", "http://127.0.0.1:1/"), "give it with --class"),
        (("--topic", "calls", "--class", "a:B", "--env", "A"), "is no variable"),
        (("--topic", "calls", "--against", "f.jsonl", "--against-env", "A=1"), "are of a model class"),
        (("--topic", "calls", "--gate", "flips<1%", "--to", "http://127.0.0.1:1/"), "--against PLACE"),
        (("--resume", "r1"), "There is no run 'r1'"),
    ],
)
def test_mistakes_are_named(headrace: Headrace, words: tuple[str, ...], says: str) -> None:
    """Wrong usage is exit code 2 and one line that names it, never a traceback."""
    code, _, told = headrace.run("replay", *words)
    assert (code, says in told, "Traceback" in told) == (2, True, False), told


def test_a_recording_is_not_written_over(headrace: Headrace, tmp_path: Path) -> None:
    """A file that is there stays as it is."""
    there = tmp_path / "there.jsonl"
    there.write_bytes(b"mine")
    code, _, told = headrace.run("record", "--topic", "calls", "-o", str(there))
    assert (code, there.read_bytes()) == (2, b"mine")
    assert "is there already" in told


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_recording_in_s3(headrace: Headrace, receiver: Receiver, bucket: str, suffix: str) -> None:
    """Recorded into a bucket, replayed from it; one that has changed since is refused where the run is resumed."""
    place = f"{bucket}/deep/calls{suffix}"
    code, said, told = headrace.run("record", "--topic", "calls", "--limit", "50", "-o", place)
    assert (code, f"50 events of calls in {place}" in said) == (0, True), told
    assert headrace.run("record", "--topic", "calls", "-o", place)[0] == 2, "it is not written over"
    code, said, told = headrace.run("replay", "--recording", place, "--to", receiver.url, "--output", "json")
    assert (code, summary(said)["answered"], len(set(receiver.got))) == (0, 50, 50), told
    place_of(place).write([b"another"])
    code, _, told = headrace.run("replay", "--resume", summary(said)["run"])
    assert (code, "has changed since the run began" in told) == (2, True), told


def test_a_folder_in_s3(headrace: Headrace, receiver: Receiver, bucket: str) -> None:
    """Its objects are events, with attributes from a template."""
    for name in ("a/1.txt", "b/2.txt"):
        place_of(f"{bucket}/in/{name}").write([name.encode()])
    order = ("replay", "--recording", f"{bucket}/in", "--attribute", "partitionkey={folder}", "--to", receiver.url)
    code, said, told = headrace.run(*order, "--output", "json")
    assert (code, summary(said)["answered"]) == (0, 2), told
    code, _, told = headrace.run("replay", "--recording", f"{bucket}/none", "--to", receiver.url)
    assert (code, f"There is no file {bucket}/none" in told) == (2, True), told
