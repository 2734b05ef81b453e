"""Where the time of an event went."""

from __future__ import annotations

from typing import Any

from headrace.local.span import SpanEvent, StoredSpan
from headrace.local.trace_tree import tree
from headrace.local.trace_why import why

MS = 1_000_000


def span(name: str, begin: int, end: int, parent: str = "", kind: str = "internal", **more: Any) -> StoredSpan:
    """A span of the milliseconds from ``begin`` to ``end``; its id is its name."""
    values: dict[str, Any] = {"attributes": {}, **more}
    return StoredSpan("t", name, parent, name, kind, "s", begin * MS, end * MS, **values)


def wait(name: str, at: int, seconds: float, **more: Any) -> SpanEvent:
    """An event of a wait."""
    return SpanEvent(name, at * MS, {"headrace.wait_seconds": seconds, **more})


def shares(*spans: StoredSpan) -> dict[str, float]:
    """Milliseconds by what they were spent with."""
    return {share.what: share.milliseconds for share in why(tree(spans)).shares}


def test_every_moment_is_counted_once() -> None:
    """It belongs to the innermost span; what nobody claims was a wait in the topic, and all together are the whole."""
    found = shares(
        span("publish in", 0, 10, kind="producer"),
        span("receive in", 110, 200, "publish in", "consumer"),
        span("process in", 110, 190, "receive in", "consumer"),
        span("POST", 115, 185, "process in", "client"),
        span("POST /", 120, 180, "POST", "server"),
        span("queue", 120, 130, "POST /"),
        span("batch", 130, 170, "POST /"),
        span("a user's own", 140, 150, "batch"),
        span("publish out", 190, 200, "process in", "producer"),
    )
    assert found == {
        "waiting in the topic": 100.0,
        "in the model's run": 40.0,
        "writing to Kafka": 20.0,
        "between dispatcher and model": 20.0,
        "in the model's queue": 10.0,
        "in the dispatcher": 10.0,
    }


def test_a_sentence_tells_the_cold_start_with_its_phases() -> None:
    """The largest share comes first; small ones are left out."""
    process = span("process in", 0, 3000, kind="consumer", events=(wait("waited for the sink", 2900, 2.9),))
    inside = [span("cold start", 10, 2890, "process in"), span("start", 20, 2880, "cold start")]
    phases = [span("import", 20, 2020, "start"), span("load", 2020, 2880, "start")]
    told = why(tree([process, *inside, *phases, span("queue", 2910, 2911, "process in")])).sentence()
    assert told == (
        "It took 3.00 s: 2.90 s (97%) waiting for a cold start (import of s 2.00 s, load of s 860 ms) "
        "and 99 ms (3%) in the dispatcher."
    )


def test_retries_and_the_end_are_told() -> None:
    """How often it was tried, and why it failed for good."""
    events = (
        wait("retry", 10, 0.09),
        SpanEvent("dead letter", 110 * MS, {"headrace.reason": "exhausted", "error.message": "HTTP 503"}),
    )
    found = why(tree([span("process in", 0, 110, kind="consumer", events=events)]))
    assert found.retries == 1
    assert found.sentence() == (
        "It took 110 ms: 90 ms (82%) waiting before a retry and 20 ms (18%) in the dispatcher. "
        "It was tried 2 times. It failed for good: exhausted: HTTP 503."
    )
