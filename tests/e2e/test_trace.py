"""One event, one trace: every hop of the event contract, in the local store and at a receiver of somebody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.telemetry.receiver import OtelTap, roots

from headrace.testing.app import running_app, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.telemetry.receiver import Received

    from headrace.testing.app import AppRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[2] / "examples"
TREE = {
    ("publish pictures", "producer", None),
    ("receive pictures", "consumer", "publish pictures"),
    ("process pictures", "consumer", "receive pictures"),
    ("POST", "client", "process pictures"),
    ("POST /", "server", "POST"),
    ("preprocess", "internal", "POST /"),
    ("infer", "client", "POST /"),
    ("infer", "server", "infer"),
    ("queue", "internal", "infer"),
    ("batch", "internal", "infer"),
    ("postprocess", "internal", "POST /"),
    ("publish pictures.labels", "producer", "process pictures"),
}
"""Each span of an event's way with its kind and parent (event contract, section 6)."""


def flat(nodes: list[dict[str, Any]], parent: str | None = None) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Every span of the printed JSON with its parent's name."""
    for node in nodes:
        yield node, parent
        yield from flat(node["children"], node["name"])


def whole_trace(app: AppRunner, identifier: str) -> list[dict[str, Any]]:
    """The event's trace by `headrace trace`, once its last span is there."""

    def found() -> list[dict[str, Any]]:
        printed = app.command("trace", identifier, "--output", "json")
        tree: list[dict[str, Any]] = json.loads(printed.stdout) if printed.returncode == 0 else []
        nodes = [node for node, _ in flat(tree)]
        complete = {"publish pictures", "publish pictures.labels", "infer", "cold start"} <= {n["name"] for n in nodes}
        return tree if complete and not any(node["orphan"] for node in nodes) else []

    return until(found, f"the whole trace of {identifier}")


def test_every_hop_is_in_one_tree(tmp_path: Path, pictures: dict[str, Path]) -> None:
    """From zero replicas: all hops under one root with one trace id and no orphan, here and at the collector."""
    with OtelTap() as theirs:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": theirs.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        example = tmp_path / "headrace.yaml"
        example.write_text((EXAMPLES / "pictures" / "headrace.yaml").read_text())
        with running_app(example, tmp_path, **settings) as app:
            event_id = app.publish("pictures", pictures["coffee.png"])["coffee.png"]
            answer = app.answers("pictures.labels", event_id)[event_id]
            tree = whole_trace(app, event_id)
            (root,) = tree
            by_result = whole_trace(app, answer.id)
            shown = app.succeed("trace", event_id)
        spans = until(lambda: _complete(theirs.traces()[str(root["trace_id"])]), "the whole trace at the receiver")
    nodes = list(flat(tree))
    assert by_result == tree, "a result's id finds the same trace"
    assert {node["trace_id"] for node, _ in nodes} == {root["trace_id"]}
    assert root["trace_id"] in answer.get("traceparent")
    found = {(node["name"], node["kind"], parent) for node, parent in nodes}
    assert TREE - found == set(), "every hop hangs below the one that caused it"
    for cold in ("activator wait", "cold start", "start", "import", "load"):
        assert cold in {name for name, _, _ in found}, "the cold start is in the trace of the event that caused it"
    process = next(node for node, _ in nodes if node["name"] == "process pictures")
    assert "waited for the sink" in {event["name"] for event in process["events"]}
    assert "publish pictures PRODUCER" in shown
    assert "└── receive pictures CONSUMER" in shown
    assert {span.name for span in spans} >= {name for name, _, _ in TREE}
    assert [top.name for top in roots(spans)] == ["publish pictures"], "one root, and no orphan"


def _complete(spans: list[Received]) -> list[Received]:
    names = {span.name for span in spans}
    return spans if {"publish pictures", "publish pictures.labels", "infer", "cold start"} <= names else []


def test_an_unknown_id_says_what_to_do(up: AppRunner) -> None:
    """No trace: the message names the id and the store, the exit code is 1."""
    answer = up.command("trace", "no-such-event")
    assert answer.returncode == 1
    assert "'no-such-event'" in answer.stderr
    assert "Traceback" not in answer.stderr
