"""What a request's trace shows of a serving process."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from headrace.errors import InvalidInputError
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.serving.startup import Phases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "content-type": "application/json"}


def parent_of(number: int) -> str:
    """A ``traceparent`` of trace ``number``."""
    return f"00-{number:032x}-{number:016x}-01"


class Hooked(Model):
    """Has every hook; fails when told to."""

    def preprocess(self, payload: Any, headers: Any = None) -> Any:
        """Change nothing."""
        return payload

    def predict(self, payload: Any, headers: Any = None) -> Any:
        """Fail when told to."""
        if payload.get("fail"):
            raise InvalidInputError("told to")
        return payload

    async def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Change nothing."""
        return result


class Sums(TensorBatching, Model):
    """Answers its rows; runs only while its gate is open."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.open = threading.Event()
        self.begun = threading.Event()

    def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Wait for the gate."""
        self.begun.set()
        assert self.open.wait(10)
        return tensors.new_response(self.name, {"y": payload.inputs[0].as_numpy()})


def tree(spans: Sequence[ReadableSpan], trace: int) -> dict[str, list[str]]:
    """The names below each name, in one trace; fails on a span whose parent is missing."""
    own = [span for span in spans if span.context is not None and span.context.trace_id == trace]
    names = {span.context.span_id: span.name for span in own if span.context is not None} | {trace: "remote"}
    below: dict[str, list[str]] = {}
    for span in own:
        assert span.parent is not None, f"{span.name} has no parent"
        assert span.parent.span_id in names, f"{span.name} is an orphan"
        below.setdefault(names[span.parent.span_id], []).append(span.name)
    return {name: sorted(children) for name, children in below.items()}


def named(spans: Sequence[ReadableSpan], name: str) -> ReadableSpan:
    (found,) = (span for span in spans if span.name == name)
    return found


@pytest.mark.parametrize("header", ["traceparent", "ce-traceparent"])
def test_the_tree_of_one_event(serving: Callable[..., Any], spans: InMemorySpanExporter, header: str) -> None:
    """The SERVER span is the child of the caller's, by header or by attribute; hooks, wait and run are below it."""
    headers = {**EVENT, header: parent_of(1)}
    answer = serving(Hooked("m"), lambda server: server.ask("POST", "/", b"{}", headers))
    ended = spans.get_finished_spans()
    assert tree(ended, 1) == {"remote": ["POST /"], "POST /": ["batch", "postprocess", "preprocess", "queue"]}
    server = named(ended, "POST /")
    assert server.kind is SpanKind.SERVER
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/",
        "url.path": "/",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "cloudevents.event_id": "1",
        "cloudevents.event_source": "/s",
        "cloudevents.event_type": "t",
        "cloudevents.event_spec_version": "1.0",
    }
    assert server.context is not None
    assert answer.headers["ce-traceparent"] == f"00-{1:032x}-{server.context.span_id:016x}-01"


def test_the_http_header_is_stronger(serving: Callable[..., Any], spans: InMemorySpanExporter) -> None:
    """The header is of the hop before this one; the attribute may be of the event's origin."""
    headers = {**EVENT, "traceparent": parent_of(1), "ce-traceparent": parent_of(2)}
    serving(Hooked("m"), lambda server: server.ask("POST", "/", b"{}", headers))
    assert not tree(spans.get_finished_spans(), 2)


def test_plain_requests_are_infer_spans(serving: Callable[..., Any], spans: InMemorySpanExporter) -> None:
    """v1 and v2 requests are SERVER spans called ``infer``."""
    serving(
        Hooked("m"),
        lambda server: server.ask(
            "POST", "/v1/models/m:predict", b"{}", {"content-type": "application/json", "traceparent": parent_of(3)}
        ),
    )
    server = named(spans.get_finished_spans(), "infer")
    assert server.kind is SpanKind.SERVER
    assert (server.attributes or {})["http.route"] == "/v1/models/{model}:predict"


def test_a_failure_is_marked_where_it_happened(serving: Callable[..., Any], spans: InMemorySpanExporter) -> None:
    """The run is an error; the SERVER span of a 400 is none (semantic conventions), and has the status."""
    headers = {**EVENT, "traceparent": parent_of(1)}
    serving(Hooked("m"), lambda server: server.ask("POST", "/", b'{"fail": true}', headers))
    ended = spans.get_finished_spans()
    run, server = named(ended, "batch"), named(ended, "POST /")
    assert run.status.status_code is StatusCode.ERROR
    assert (run.attributes or {})["error.type"] == "invalid-input"
    assert server.status.status_code is StatusCode.UNSET
    assert (server.attributes or {})["http.response.status_code"] == 400


def test_a_merged_run_shows_in_every_members_trace(serving: Callable[..., Any], spans: InMemorySpanExporter) -> None:
    """The first has the ``batch`` with a link to each member; the others have an ``execute`` that links to it."""
    model = Sums("m")

    async def ask(server: Any, number: int) -> None:
        request = tensors.new_request("m", {"x": np.zeros((1, 1), np.float32)})
        headers, body = tensors.dump_request(request)
        await server.ask("POST", "/v2/models/m/infer", body, {**headers, "traceparent": parent_of(number)})

    async def use(server: Any) -> None:
        first = asyncio.ensure_future(ask(server, 1))
        while not model.begun.is_set():  # noqa: ASYNC110  # set by a thread
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(ask(server, number)) for number in (2, 3, 4)]
        while server.hosted._batcher.waiting < 3:  # noqa: ASYNC110  # told by no event
            await asyncio.sleep(0.001)
        model.open.set()
        await asyncio.gather(first, *others)

    serving(model, use)
    ended = spans.get_finished_spans()
    assert tree(ended, 1) == {"remote": ["infer"], "infer": ["batch", "queue"]}
    assert tree(ended, 2) == {"remote": ["infer"], "infer": ["batch", "queue"]}
    assert tree(ended, 3) == tree(ended, 4) == {"remote": ["infer"], "infer": ["execute", "queue"]}
    merged = next(s for s in ended if s.name == "batch" and s.context is not None and s.context.trace_id == 2)
    assert dict(merged.attributes or {}) == {"headrace.batch.size": 3, "headrace.batch.requests": 3}
    assert [link.context.trace_id for link in merged.links] == [2, 3, 4]
    for span in ended:
        if span.name == "execute":
            assert [link.context for link in span.links] == [merged.context]


def test_events_of_a_batch_keep_their_own_traces(serving: Callable[..., Any], spans: InMemorySpanExporter) -> None:
    """Each event's work is in its own trace, or the request's where it has none; the request's span links to each."""
    items = [
        {"specversion": "1.0", "id": str(n), "source": "/s", "type": "t", "data": {}}
        | ({"traceparent": parent_of(n)} if n < 3 else {})
        for n in (1, 2, 3)
    ]
    headers = {"content-type": "application/cloudevents-batch+json", "traceparent": parent_of(9)}
    answer = serving(Hooked("m"), lambda server: server.ask("POST", "/", orjson.dumps(items), headers))
    ended = spans.get_finished_spans()
    work = ["batch", "postprocess", "preprocess", "queue"]
    assert tree(ended, 1) == tree(ended, 2) == {"remote": ["process"], "process": work}
    assert tree(ended, 9) == {"remote": ["POST /"], "POST /": ["process"], "process": work}
    assert [link.context.trace_id for link in named(ended, "POST /").links] == [1, 2]
    assert [event["traceparent"][3:35] for event in answer.json] == [f"{n:032x}" for n in (1, 2, 9)]


def test_the_start_is_a_tree_of_phases(spans: InMemorySpanExporter) -> None:
    """``start`` and its phases are children of the ``TRACEPARENT`` that the process was started with."""
    phases = Phases()
    for name in ("import", "load", "warm-up"):
        phases.end(name)
    phases.record("m", {"TRACEPARENT": parent_of(5)})
    ended = spans.get_finished_spans()
    assert tree(ended, 5) == {"remote": ["start"], "start": ["import", "load", "warm-up"]}
    start, load = named(ended, "start"), named(ended, "load")
    assert start.start_time == phases.began
    assert (load.start_time, start.end_time) == (phases.ended[0][1], phases.ended[2][1])
