"""A run over a recording: every event once, whatever interrupts it, each marked, and nothing fatal in bad records."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.errors import ConfigurationError, PermanentError, StorageFullError, UnavailableError
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Committed, OutgoingRecord, Partition, Record
from headrace.eventing.replay.plan import Plan, Runs
from headrace.eventing.replay.recording import dump_recorded
from headrace.eventing.replay.run import Outcome, run
from headrace.eventing.replay.store import RESULTS, FileStore
from headrace.eventing.sink import Reply
from headrace.telemetry import tracing
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.replay import log as log_module

NOWHERE = "127.0.0.1:1"
"""No Kafka is asked for here."""


def echo(event: CloudEvent) -> Reply:
    """Its own data."""
    return Reply(200, {"content-type": "text/plain"}, event.data or b"")


def plan(recording: Path, folder: Path, **more: object) -> Plan:
    """A run over this recording, with its answers in a file."""
    folder.mkdir(exist_ok=True)
    made = Plan(run="r1", target="memory:", recording=str(recording), results_file=str(folder / "answers.jsonl"))
    return replace(made, ordering="key", **more)  # type: ignore[arg-type]  # the test's own fields


def play(order: Plan, folder: Path, sink: MemorySink, stop_at: int | None = None) -> Outcome:
    """One life of the run; with ``stop_at`` it is stopped once so many answers are kept."""

    async def life() -> Outcome:
        stop = asyncio.Event()

        def look(tally: log_module.Tally) -> None:
            if stop_at is not None and tally.done >= stop_at:
                stop.set()

        return await asyncio.wait_for(run(order, folder, NOWHERE, stop=stop, progress=look, sink=sink), 60)

    return asyncio.run(life())


def answers(folder: Path) -> list[dict[str, str]]:
    """The answers that are kept."""
    return [orjson.loads(line) for line in (folder / "answers.jsonl").read_bytes().splitlines()]


def test_every_event_is_answered_once_and_marked(recording: Callable[[int], Path], tmp_path: Path) -> None:
    """Each event reaches the model with the run's id, and its answer carries that too; a key keeps its order."""
    sink = MemorySink(echo)
    outcome = play(plan(recording(60), tmp_path / "run"), tmp_path / "run", sink)
    assert outcome.complete
    assert (outcome.tally.read, outcome.tally.answered, outcome.tally.failed) == (60, 60, 0)
    assert {event.get("hrreplay") for event in sink.got} == {"r1"}
    found = answers(tmp_path / "run")
    assert sorted(int(a["causationid"]) for a in found) == list(range(60))
    assert {a["hrreplay"] for a in found} == {"r1"}
    by_key = defaultdict(list)
    for event in sink.got:
        by_key[event.get("partitionkey")].append(int(event.id))
    assert by_key == {f"k{n}": list(range(n, 60, 3)) for n in range(3)}


def test_a_run_that_was_stopped_goes_on(recording: Callable[[int], Path], tmp_path: Path) -> None:
    """Stopped again and again, it leaves the very answers, to the id, that an undisturbed run leaves."""
    source, whole, parts = recording(200), tmp_path / "whole", tmp_path / "parts"
    play(plan(source, whole), whole, MemorySink(echo))
    order = plan(source, parts, rate=80.0)
    complete = [play(order, parts, MemorySink(echo), stop_at=20).complete for _ in range(2)]
    while not play(order, parts, MemorySink(echo)).complete:
        pass
    assert complete[0] is False
    assert sorted(a["id"] for a in answers(parts)) == sorted(a["id"] for a in answers(whole))


def test_what_a_dead_life_half_wrote_is_cut_off(tmp_path: Path) -> None:
    """Lines that were written, and whose progress was not, are answered again: they must not stand there twice."""
    here = Partition("f", 0)
    paths = tmp_path / "answers.jsonl", tmp_path / "rejected.jsonl", tmp_path / "progress.json"
    headers = tuple(
        (f"ce_{k}", v) for k, v in {"specversion": b"1.0", "id": b"1", "source": b"/", "type": b"t"}.items()
    )
    store = FileStore(*paths)
    store.open([here])
    store.write([OutgoingRecord(RESULTS, None, b"kept", headers)], {here: Committed(1, "x")})
    store.close()
    with paths[0].open("ab") as file:
        file.write(b'{"specversion":"1.0","id":"2", half a li')
    again = FileStore(*paths)
    assert again.open([here]) == {here: Committed(1, "x")}
    again.write([OutgoingRecord(RESULTS, None, b"next", headers)], {here: Committed(2)})
    again.close()
    assert [orjson.loads(line)["data_base64"] for line in paths[0].read_bytes().splitlines()] == [
        "a2VwdA==",
        "bmV4dA==",
    ]


def test_an_answer_of_the_store_that_is_lost_is_asked_after(
    recording: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written, and not said so: nothing is written twice, the run ends, and its numbers are right."""
    real = FileStore.write
    lost: list[Any] = []

    def write(store: FileStore, records: Any, progress: Any) -> None:
        real(store, records, progress)
        if len(lost) < 2:
            lost.append(progress)
            raise UnavailableError("the answer is lost")

    monkeypatch.setattr(FileStore, "write", write)
    folder = tmp_path / "run"
    outcome = play(plan(recording(40), folder), folder, MemorySink(echo))
    assert (outcome.complete, outcome.tally.answered, len(lost)) == (True, 40, 2)
    assert sorted(int(a["causationid"]) for a in answers(folder)) == list(range(40))


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """What cannot be written is said, with what to do; the progress stays where the answers are."""
    here = Partition("f", 0)
    store = FileStore(None, tmp_path / "rejected.jsonl", tmp_path / "gone" / "progress.json")
    store.open([here])
    with pytest.raises(StorageFullError, match="make room, and resume"):
        store.write([], {here: Committed(1)})
    assert store.open([here]) == {}
    store.close()


def test_bad_records_are_set_aside(recording: Callable[[int], Path], tmp_path: Path) -> None:
    """A line that is no event, and an event that the model refuses, stop nothing: both are kept, with the reason."""
    source = recording(5)
    source.write_bytes(source.read_bytes() + b"{broken\n")
    folder = tmp_path / "run"

    def choosy(event: CloudEvent) -> Reply:
        return Reply(422) if event.id == "3" else echo(event)

    outcome = play(plan(source, folder), folder, MemorySink(choosy))
    assert outcome.complete
    assert (outcome.tally.answered, outcome.tally.failed, outcome.tally.rejected) == (4, 2, 2)
    aside = [orjson.loads(line) for line in (folder / "rejected.jsonl").read_bytes().splitlines()]
    assert {letter["hrreason"] for letter in aside} == {"invalid", "rejected"}


def test_a_paused_run_gives_nothing(recording: Callable[[int], Path], tmp_path: Path) -> None:
    """While it is paused no event goes out; afterwards each does."""
    folder, sink, looks = tmp_path / "run", MemorySink(echo), iter([False, *[True] * 40])
    order = plan(recording(50), folder, speed=100.0)

    async def life() -> Outcome:
        return await run(order, folder, NOWHERE, stop=asyncio.Event(), sink=sink, paused=lambda: next(looks, False))

    outcome = asyncio.run(asyncio.wait_for(life(), 60))
    assert (outcome.complete, outcome.tally.answered, len(sink.got)) == (True, 50, 50)
    assert next(looks, None) is None, "it was asked all along"


def test_a_strict_run_ends_with_the_first_bad_record(recording: Callable[[int], Path], tmp_path: Path) -> None:
    """With ``strict`` a failure is an error, and the run can be taken up again."""
    folder = tmp_path / "run"
    order = plan(recording(5), folder, strict=True)
    with pytest.raises(PermanentError, match="failed for good"):
        play(order, folder, MemorySink(lambda _: Reply(422)))


def test_a_limit_and_a_filter_cut_the_run(recording: Callable[[int], Path], tmp_path: Path) -> None:
    """The line behind the last, and CESQL over the attributes."""
    folder = tmp_path / "run"
    order = plan(recording(30), folder, end=20, filter="partitionkey = 'k1'")
    outcome = play(order, folder, MemorySink(echo))
    assert (outcome.tally.read, outcome.tally.chosen) == (20, 7)
    assert [int(a["causationid"]) for a in answers(folder)] == [1, 4, 7, 10, 13, 16, 19]


def test_a_replayed_event_begins_a_trace_linked_to_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded_event: Callable[[str], bytes]
) -> None:
    """The model sees a new trace; its root names the trace in which the event was published."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer)
    first = "0af7651916cd43dd8448eb211c80319c"
    source, folder, sink = tmp_path / "one.jsonl", tmp_path / "run", MemorySink(echo)
    source.write_bytes(recorded_event(f"00-{first}-b7ad6b7169203331-01"))
    play(plan(source, folder), folder, sink)
    (root,) = [span for span in exporter.get_finished_spans() if span.name.startswith("replay ")]
    assert root.parent is None
    assert [trace.format_trace_id(link.context.trace_id) for link in root.links] == [first]


@pytest.fixture
def recorded_event() -> Callable[[str], bytes]:
    """A recorded event with this ``traceparent``."""

    def make(traceparent: str) -> bytes:
        attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "traceparent": traceparent}
        written = write_record(new_event(attributes, b"x"), "in", trace={})
        return dump_recorded(Record(Partition("in", 0), 0, 0, None, written.value, written.headers))

    return make


def test_a_run_is_found_by_its_id(tmp_path: Path) -> None:
    """A plan comes back as it was kept; an unknown id is answered with those that there are."""
    runs = Runs(tmp_path / "replays")
    kept = Plan(run="r9", target="http://x/", recording="/a.jsonl", rate=3.5, identity=("a", "b", "c", "d"))
    runs.keep(kept)
    assert runs.find("r9") == kept
    with pytest.raises(ConfigurationError, match="there is r9"):
        runs.find("r8")
