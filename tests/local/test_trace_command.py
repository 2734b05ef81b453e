"""``headrace trace`` over a store that is there."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from headrace.cli.main import main
from headrace.local.span import SpanEvent, SpanLink, StoredSpan
from headrace.local.trace_store import TraceStore

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three events of the last minute, one of yesterday, and the request of a batch."""
    path = tmp_path / "traces.sqlite"
    traces = TraceStore.create(path)
    now = time.time_ns() - 60_000 * MS

    def event(number: int, took: int, began: int = now, **more: Any) -> StoredSpan:
        begin = began + number * MS
        ids = (f"{number:08x}{7:024x}", f"{number:016x}", "")
        values = {"attributes": {"cloudevents.event_id": f"e-{number}"}, **more}
        return StoredSpan(*ids, "process in", "consumer", "d", begin, begin + took * MS, **values)

    dead = (SpanEvent("dead letter", now, {"headrace.reason": "rejected"}),)
    retried = (SpanEvent("retry", now, {"headrace.wait_seconds": 0.1}),)
    links = (SpanLink("1", "2", {}),)
    request = StoredSpan("f" * 32, "f" * 16, "", "POST", "client", "d", now, now + 9000 * MS, {}, links=links)
    traces.add([
        event(1, 10), event(2, 200, status="error", events=dead), event(3, 100, events=retried),
        event(4, 5000, now - 86_400_000 * MS), request,
    ])  # fmt: skip
    traces.close()
    return path


def trace(capsys: pytest.CaptureFixture[str], store: Path, *arguments: str) -> tuple[int, str, str]:
    """What the command answers."""
    with pytest.raises(SystemExit) as ended:
        main(["trace", "--store", str(store), *arguments])
    told = capsys.readouterr()
    return int(str(ended.value.code or 0)), told.out, told.err


@pytest.mark.parametrize(
    ("arguments", "events"),
    [
        (["--slowest", "2"], ["e-4", "e-2"]),
        (["--slowest", "9", "--since", "1h"], ["e-2", "e-3", "e-1"]),
        (["--failed"], ["e-2"]),
        (["--since", "1h"], ["e-3", "e-2", "e-1"]),
        (["--failed", "--since", "1s"], []),
    ],
)
def test_lists(capsys: pytest.CaptureFixture[str], store: Path, arguments: list[str], events: list[str]) -> None:
    """Slowest first, or newest first; the request of a batch is no event."""
    code, out, _ = trace(capsys, store, *arguments, "--output", "json")
    assert code == 0
    assert [row["event"] for row in json.loads(out)] == events


def test_a_list_for_people(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """How each one ended, and with --why where its time went."""
    _, out, _ = trace(capsys, store, "--since", "1h")
    assert [line.split()[0] for line in out.splitlines()] == ["event", "e-3", "e-2", "e-1"]
    assert "retried" in out
    assert "rejected" in out
    assert "dispatcher" not in out
    _, out, _ = trace(capsys, store, "--slowest", "1", "--why")
    assert "It took 5.00 s: 5.00 s (100%) in the dispatcher." in out
    assert trace(capsys, store, "--failed", "--since", "1s")[1] == "no such trace\n"


def test_one_trace_with_its_reason(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    """The tree, then the sentence; both as JSON."""
    _, out, _ = trace(capsys, store, "e-2", "--why")
    assert out.splitlines()[0] == f"trace {2:08x}{7:024x}"
    assert out.splitlines()[-1] == "It took 200 ms: 200 ms (100%) in the dispatcher. It failed for good: rejected."
    _, out, _ = trace(capsys, store, "e-2", "--why", "--output", "json")
    found = json.loads(out)
    assert found["why"]["shares"][0]["what"] == "in the dispatcher"
    assert found["spans"][0]["name"] == "process in"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [([], "Which trace?"), (["e-1", "--failed"], "An ID names one trace"), (["--since", "soon"], "--since 'soon'")],
)
def test_mistakes_are_told(capsys: pytest.CaptureFixture[str], store: Path, arguments: list[str], told: str) -> None:
    """In a line, with exit code 2."""
    code, _, err = trace(capsys, store, *arguments)
    assert code == 2
    assert told in err
