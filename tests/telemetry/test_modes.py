"""The tree of an event in every mode (event contract, section 6), with real parts on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import numpy as np
import pytest
from opentelemetry.trace import SpanKind
from tests.telemetry.scene import Scene, outline

from headrace.eventing.batches import BatchLimits
from headrace.eventing.deadletters.handling import Order, handle
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.http_sink import HttpSink
from headrace.eventing.replay.files import source_of
from headrace.eventing.replay.log import ReplayLog
from headrace.eventing.replay.places.place import place_of
from headrace.eventing.replay.store import REJECTED, RESULTS, FileStore
from headrace.eventing.results import Responder
from headrace.models import rpc_tensors, tensors
from headrace.models.kserve_api import services

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from headrace.eventing.event import CloudEvent

    Traced = Callable[..., InMemorySpanExporter]

pytestmark = pytest.mark.timeout(180)
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PREDICTOR = """
infer SERVER
  queue
  batch
    look up
"""
WORK = f"""
preprocess
infer CLIENT
{PREDICTOR.strip().replace("infer", "  infer", 1).replace(chr(10), chr(10) + "  ")}
postprocess
"""


def below(depth: int, text: str) -> str:
    """The lines of a tree, so much deeper."""
    return "\n".join("  " * depth + line for line in text.strip().splitlines())


def way(inside: str, *, publish: str = "publish in PRODUCER", end: str = "publish in.out PRODUCER") -> str:
    """The tree of an event around what is inside of its process span."""
    head = [publish, "  receive in CONSUMER", "    process in CONSUMER"]
    return "\n".join([*head, below(3, inside), *([below(3, end)] if end else [])])


SINGLE = way(f"· waited for the sink\nPOST CLIENT\n  POST / SERVER\n{below(2, WORK)}")


def run(kafka: str, play: Callable[[Scene], Coroutine[Any, Any, Any]], **options: Any) -> tuple[Any, str]:
    """What a play returns, and its topic."""

    async def within() -> tuple[Any, str]:
        async with Scene(kafka, **options) as scene:
            return await play(scene), scene.topic

    return asyncio.run(within())


def trace_of(event: CloudEvent) -> str:
    """The id of the trace that it is in."""
    return (event.get("traceparent") or "").split("-")[1]


def test_single(broker: str, traced: Traced) -> None:
    """One event, exactly once: publish, receive, process, transformer, predictor, the user's own span, result."""
    exporter = traced()

    async def play(scene: Scene) -> str:
        await scene.publish(1)
        (answer,) = await scene.dispatch(1)
        return trace_of(answer)

    trace_id, topic = run(broker, play)
    assert outline(exporter.get_finished_spans(), trace_id, topic) == SINGLE


def test_rpc(broker: str, traced: Traced) -> None:
    """Over gRPC to the predictor the tree is the same but for the name of its SERVER span."""
    exporter = traced()

    async def play(scene: Scene) -> str:
        await scene.publish(1)
        (answer,) = await scene.dispatch(1)
        return trace_of(answer)

    trace_id, topic = run(broker, play, rpc=True)
    found = outline(exporter.get_finished_spans(), trace_id, topic)
    assert found == SINGLE.replace("infer SERVER", "inference.GRPCInferenceService/ModelInfer SERVER")


def test_three_interleaved_traces_in_one_batch(broker: str, traced: Traced) -> None:
    """Each event's work is in its own trace, whole; the batch's request and the run link to every member."""
    exporter = traced()
    parents = [f"00-{number:032x}-{number:016x}-01" for number in (1, 2, 3)]

    async def play(scene: Scene) -> list[CloudEvent]:
        for number, parent in enumerate(parents):
            await scene.publish(number, traceparent=parent)
        return await scene.dispatch(3, BatchLimits(size=3, delay=10.0))

    answers, topic = run(broker, play)
    spans = exporter.get_finished_spans()
    assert sorted(trace_of(answer) for answer in answers) == [f"{number:032x}" for number in (1, 2, 3)]
    runs = Counter[str]()
    for number in (1, 2, 3):
        found = outline(spans, f"{number:032x}", topic)
        expected = way(f"· waited for the sink\nprocess\n{below(1, WORK)}")
        runs.update(line.strip() for line in found.splitlines())
        # Of a merged run one trace has the batch and the user's spans, the others have a place in it.
        assert found.replace("execute", "batch\n" + " " * 14 + "look up") == expected
    assert runs["batch"] >= 1
    (request,) = (span for span in spans if span.name == "POST" and span.parent is None)
    assert sorted(link.context.trace_id for link in request.links) == [1, 2, 3]
    server = next(span for span in spans if span.name == "POST /")
    assert sorted(link.context.trace_id for link in server.links) == [1, 2, 3]
    for span in spans:
        if span.name == "batch" and (span.attributes or {})["headrace.batch.requests"] != 1:
            assert len(span.links) == (span.attributes or {})["headrace.batch.requests"]


def test_retries(broker: str, traced: Traced) -> None:
    """Each retry is an event of the process span, and each attempt a request below it."""
    exporter = traced()

    async def play(scene: Scene) -> str:
        await scene.publish(13)
        (answer,) = await scene.dispatch(1)
        return trace_of(answer)

    trace_id, topic = run(broker, play)
    found = outline(exporter.get_finished_spans(), trace_id, topic).splitlines()
    counts = Counter(line.strip() for line in found)
    assert counts["· retry"] == 2
    assert counts["POST CLIENT"] == counts["POST / SERVER"] == counts["look up"] == 3
    assert not [line for line in found if line.strip().startswith("?")]
    assert counts["publish in.out PRODUCER"] == 1


def test_cold_start(broker: str, traced: Traced) -> None:
    """The wait for a sink that is not there is an event of the process span, and costs no attempt."""
    exporter = traced()

    async def play(scene: Scene) -> str:
        await scene.publish(1)
        (answer,) = await scene.dispatch(1)
        return trace_of(answer)

    trace_id, topic = run(broker, play, cold=3)
    spans = exporter.get_finished_spans()
    assert outline(spans, trace_id, topic) == SINGLE
    (process,) = (span for span in spans if span.name.startswith("process "))
    assert float(str((process.events[0].attributes or {})["headrace.wait_seconds"])) > 0


def test_dead_letter_and_redrive(broker: str, traced: Traced) -> None:
    """The trace goes on through the dead letter, and through its redrive to a second end."""
    exporter = traced()

    async def play(scene: Scene) -> str:
        await scene.publish(666)
        (problem,) = await scene.dispatch(1)
        await asyncio.to_thread(handle, scene.kafka, Order(scene.letters))
        await scene.dispatch(2)
        (first, *_) = exporter.get_finished_spans()
        assert problem.type.endswith("error.v1")
        return f"{first.context.trace_id:032x}"

    trace_id, topic = run(broker, play)
    work = below(2, WORK.replace("postprocess", "").replace("look up", "look up\n        · exception"))
    once = way(
        f"· waited for the sink\n· dead letter\nPOST CLIENT\n  POST / SERVER\n{work}",
        end="publish in.dead PRODUCER\npublish in.out PRODUCER",
    )
    found = outline(exporter.get_finished_spans(), trace_id, topic)
    again = below(4, once)
    head, tail = once.split("      publish in.dead PRODUCER\n")
    assert found == f"{head}      publish in.dead PRODUCER\n{again}\n{tail}"


def test_http_callers(broker: str, traced: Traced) -> None:
    """A call to the transformer over HTTP is the child of the caller's span, and its baggage reaches the model."""
    exporter = traced()

    async def play(scene: Scene) -> None:
        headers = {"traceparent": PARENT, "baggage": "tenant=a"}
        async with aiohttp.ClientSession() as client:
            url = f"{scene.url}v1/models/m:predict"
            async with client.post(url, json={"n": 1}, headers=headers) as answer:
                assert await answer.json() == {"n": 2}

    run(broker, play)
    found = outline(exporter.get_finished_spans(), TRACE)
    assert found == f"infer SERVER\n{below(1, WORK)}"


def test_rpc_callers(broker: str, traced: Traced) -> None:
    """A gRPC call to the predictor is the child of the caller's span."""
    exporter = traced()

    async def play(scene: Scene) -> None:
        request = rpc_tensors.dump_request(tensors.new_request("m", {"x": np.ones((1, 1), np.int64)}))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{scene.predictor.rpc.port}") as channel:
            stub = services.GRPCInferenceServiceStub(channel)
            await stub.ModelInfer(request, metadata=(("traceparent", PARENT),))

    run(broker, play)
    found = outline(exporter.get_finished_spans(), TRACE)
    assert found == PREDICTOR.strip().replace("infer", "inference.GRPCInferenceService/ModelInfer")


def test_replay(broker: str, traced: Traced, tmp_path: Path) -> None:
    """A replayed event has a trace of its own, which links to the one that it was published in."""
    exporter = traced()
    recording = tmp_path / "events.jsonl"
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"n": 1}, "traceparent": PARENT}
    event["datacontenttype"] = "application/json"
    recording.write_text(json.dumps(event) + "\n")

    async def play(scene: Scene) -> None:
        store = FileStore(*(tmp_path / name for name in ("out.jsonl", "rejected.jsonl", "progress.json")))
        log = ReplayLog("run", source_of(place_of(str(recording)), attributes={}, end=None), store)
        settings = DispatchSettings(Responder("ns", "app", "m", "1"), REJECTED, RESULTS)
        stop, sink = asyncio.Event(), HttpSink(scene.url)
        running = asyncio.ensure_future(Dispatcher(log, sink, settings).run(stop))
        await asyncio.wait_for(log.finished.wait(), 30)
        stop.set()
        await running
        await sink.close()

    run(broker, play)
    spans = exporter.get_finished_spans()
    (replayed,) = (span for span in spans if span.kind is SpanKind.PRODUCER and span.parent is None)
    assert [f"{link.context.trace_id:032x}" for link in replayed.links] == [TRACE]
    found = outline(spans, f"{replayed.context.trace_id:032x}", replayed.name.split()[1])
    assert found == SINGLE.replace("publish in PRODUCER", "replay in PRODUCER").replace("in.out", "results")
