"""Where the seconds of a cold start went, read off the spans."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from headrace.local.cold_starts import last_cold_starts
from headrace.local.span import StoredSpan
from headrace.local.trace_store import TraceStore

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "vision/labels-predictor"
READY: dict[str, Any] = {"headrace.service": SERVICE, "headrace.cold_start.ready": 2.0}


def span(name: str, start: float, end: float, parent: str = "", *, trace: str = "a", **changes: Any) -> StoredSpan:
    """A span of the predictor between two moments, in seconds; its id is its name."""
    values = {
        "trace_id": trace * 32,
        "span_id": name,
        "parent_id": parent,
        "name": name,
        "kind": "internal",
        "service": "labels-predictor",
        "start_ns": int(start * 1e9),
        "end_ns": int(end * 1e9),
        "attributes": {},
        **changes,
    }
    return StoredSpan(**values)


def found(path: Path, *spans: StoredSpan) -> dict[str, Any]:
    with closing(TraceStore.create(path / "traces.sqlite")) as store:
        store.add(spans)
        return last_cold_starts(store)


def test_every_second_is_in_a_phase(tmp_path: Path) -> None:
    """From the decision to readiness, and then the answer to the request that woke it."""
    cold = span(
        "cold start", 10, 13, service="headrace-activator", attributes={**READY, "headrace.cold_start.forked": True}
    )
    starts = (
        span("start", 10.5, 12.75, "cold start"),
        span("import", 10.5, 10.75, "start"),
        span("load", 10.75, 11.75, "start"),
        span("warm-up", 11.75, 12.75, "start"),
    )
    before = span("infer", 9, 9.5, kind="server")
    answer = span("POST /", 13, 13.25, kind="server")
    seen = found(tmp_path, cold, *starts, before, answer)[SERVICE]
    assert (seen.began, seen.seconds, seen.forked) == (10, 3, True)
    assert dict(seen.phases) == pytest.approx(
        {"schedule": 0.5, "import": 0.25, "load": 1, "warm-up": 1, "probe": 0.25, "first answer": 0.25}
    )


def test_the_newest_that_got_ready_counts(tmp_path: Path) -> None:
    """Not one that failed after it, and of each service its own; without the replica's spans, the sum alone."""
    first = span("cold start", 0, 9, attributes=READY)
    second = span("cold start", 20, 22, trace="b", attributes=READY)
    failed = span("cold start", 30, 90, trace="c", attributes={"headrace.service": SERVICE})
    other = span("cold start", 1, 2, trace="d", attributes={**READY, "headrace.service": "vision/other"})
    seen = found(tmp_path, first, second, failed, other)
    assert {name: (start.seconds, start.phases) for name, start in seen.items()} == {
        SERVICE: (2, ()),
        "vision/other": (1, ()),
    }


def test_nothing_has_started_yet(tmp_path: Path) -> None:
    """No cold start, no entry."""
    assert found(tmp_path, span("infer", 0, 1)) == {}
