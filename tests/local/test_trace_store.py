from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ConfigurationError, UnavailableError
from headrace.local.span import SpanEvent, SpanLink, StoredSpan
from headrace.local.trace_store import TraceStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "0af7651916ffffff8448eb211c80319c"


def span(number: int, trace: str = TRACE, **changes: object) -> StoredSpan:
    values: dict[str, object] = {
        "trace_id": trace,
        "span_id": f"{number:016x}",
        "parent_id": "",
        "name": f"span {number}",
        "kind": "server",
        "service": "predictor",
        "start_ns": number,
        "end_ns": number + 2_000_000,
        "attributes": {},
    }
    return StoredSpan(**{**values, **changes})  # type: ignore[arg-type] # a builder for tests


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    store = TraceStore.create(tmp_path / "home" / "traces.sqlite", max_spans=10)
    yield store
    store.close()


def test_a_span_comes_back_as_it_went_in(store: TraceStore) -> None:
    """Every field survives, nested attributes, events and links among them."""
    full = span(
        1,
        parent_id="00000000000000ff",
        attributes={"n": 1, "f": 0.5, "yes": True, "list": ["a", "b"], "text": "ü"},
        events=(SpanEvent("retry", 5, {"attempt": 2}),),
        links=(SpanLink(OTHER, "00000000000000aa", {"position": 0}),),
        status="error",
        status_message="it broke",
    )
    store.add([full])
    assert store.spans_of(TRACE) == (full,)
    assert full.duration_ms == 2.0
    assert store.spans_of(OTHER) == ()


def test_a_span_that_is_exported_twice_is_kept_once(store: TraceStore) -> None:
    """An exporter that retries does not double the trace, nor eat the bound."""
    for _ in range(12):
        store.add([span(1)])
    store.add([span(number) for number in range(2, 11)])
    assert len(store.spans_of(TRACE)) == 10


def test_beyond_the_bound_the_oldest_spans_go(store: TraceStore) -> None:
    """The newest spans stay, in one call or in many; the ids of the dropped ones are forgotten with them."""
    store.add([span(0, OTHER, attributes={"cloudevents.event_id": "first"})])
    assert store.find_trace("first") == OTHER
    store.add([span(number) for number in range(1, 8)])
    store.add([span(number) for number in range(8, 26)])
    assert [one.start_ns for one in store.spans_of(TRACE)] == list(range(16, 26))
    assert store.find_trace("first") is None


def test_the_bound_holds_over_a_restart(tmp_path: Path) -> None:
    """What a former run kept counts."""
    path = tmp_path / "traces.sqlite"
    for number in range(6):
        store = TraceStore.create(path, max_spans=4)
        store.add([span(number)])
        store.close()
    reader = TraceStore.read(path)
    assert [one.start_ns for one in reader.spans_of(TRACE)] == [2, 3, 4, 5]
    reader.close()


@pytest.mark.parametrize("name", ["cloudevents.event_id", "messaging.message.id", "headrace.result.id"])
def test_a_trace_is_found_by_event_and_result_id(store: TraceStore, name: str) -> None:
    """The attribute's value names the trace; a batch's list names it once a member."""
    store.add([span(1, attributes={name: "e-1"}), span(2, OTHER, attributes={name: ["e-2", "e-3"]})])
    assert [store.find_trace(value) for value in ("e-1", "e-2", "e-3", "e-4")] == [TRACE, OTHER, OTHER, None]


def test_an_event_id_of_two_traces_names_the_newer(store: TraceStore) -> None:
    """An event that was published again is looked for because of its last way."""
    store.add([span(1, attributes={"cloudevents.event_id": "e-1"})])
    store.add([span(2, OTHER, attributes={"cloudevents.event_id": "e-1"})])
    assert store.find_trace("e-1") == OTHER


def test_a_trace_is_found_by_the_beginning_of_its_id(store: TraceStore) -> None:
    """Eight digits are enough where they are unique, in any case; less never is an id."""
    store.add([span(1), span(2)])
    assert store.find_trace(TRACE) == TRACE
    assert store.find_trace(TRACE[:8].upper()) == TRACE
    assert store.find_trace(TRACE[:7]) is None
    assert store.find_trace("not-hexadecimal") is None
    store.add([span(3, OTHER)])
    with pytest.raises(ConfigurationError, match=f"(?s){TRACE}.*give more digits"):
        store.find_trace(TRACE[:10])


def test_the_batches_of_an_event_are_found_by_their_links(store: TraceStore) -> None:
    """The whole trace of a linking span comes, since its children are the event's as well."""
    store.add([span(1), span(2, OTHER, links=(SpanLink(TRACE, span(1).span_id, {}),)), span(3, OTHER)])
    assert [one.start_ns for one in store.linked_to(TRACE)] == [2, 3]
    assert store.linked_to(OTHER) == ()


def test_the_newest_traces_come_first(store: TraceStore) -> None:
    """By the arrival of their last span."""
    store.add([span(1), span(2, OTHER), span(3)])
    assert store.newest_traces() == (TRACE, OTHER)
    assert store.newest_traces(1) == (TRACE,)


def test_threads_may_share_a_store(store: TraceStore) -> None:
    """Adding from many threads loses nothing and drops what is over the bound."""
    threads = [threading.Thread(target=store.add, args=([span(number)],)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.spans_of(TRACE)) == 10


READER = f"""
import sys; from pathlib import Path; from headrace.local.trace_store import TraceStore
reader = TraceStore.read(Path(sys.argv[1]))
for _ in sys.stdin:
    print(len(reader.spans_of("{TRACE}")), flush=True)
reader.close()
"""


def test_another_process_reads_while_the_twin_writes(tmp_path: Path) -> None:
    """A reader sees each committed batch whole, without waiting for the writer or stopping it."""
    store = TraceStore.create(tmp_path / "traces.sqlite")
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for batch in range(20):
            store.add([span(batch * 5 + number) for number in range(5)])
            process.stdin.write("\n")
            process.stdin.flush()
            assert int(process.stdout.readline()) == 5 * (batch + 1)
        process.stdin.close()
        assert process.wait() == 0
    store.close()


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    """Reading makes no file."""
    with pytest.raises(ConfigurationError, match=r"No traces at .*none\.sqlite"):
        TraceStore.read(tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"this is no database, and long enough to be looked at" * 40, b"short"])
def test_a_corrupt_store_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    """Reader and writer say so alike, and leave the file as it is."""
    path = tmp_path / "traces.sqlite"
    path.write_bytes(content)
    for opening in (TraceStore.read, TraceStore.create):
        with pytest.raises(ConfigurationError, match=r"traces\.sqlite.*delete the file"):
            opening(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A foreign SQLite file is refused, not written to."""
    path = tmp_path / "traces.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.close()
    with pytest.raises(ConfigurationError, match="no trace store of this Headrace"):
        TraceStore.create(path)


def test_a_closed_store_says_so(store: TraceStore) -> None:
    """Not with SQLite's words."""
    store.close()
    with pytest.raises(UnavailableError, match="is closed"):
        store.add([span(1)])


def test_a_useless_bound_is_refused(tmp_path: Path) -> None:
    """A store that keeps nothing helps nobody."""
    with pytest.raises(ConfigurationError, match="not positive"):
        TraceStore.create(tmp_path / "traces.sqlite", max_spans=0)
