"""A model answers alike wherever it runs: in a thread of the server, or in a process of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from opentelemetry import context as otel_context

from headrace.errors import DeadlineExceededError, HeadraceError, OverloadedError
from headrace.models import rpc_tensors, tensors
from headrace.models.kserve_api import messages
from headrace.serving import faults, loading
from headrace.serving.execution.orders import Work
from headrace.serving.execution.process_hosting import ProcessModel
from headrace.serving.hosting import HostedModel
from headrace.serving.settings import BatchLimits, ModelSource
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from headrace.serving.hosted import Hosted

DEADLINE = 60.0
TARGET = f"{Path(__file__).with_name('hosted_model.py')}:Everything"
LIMITS = BatchLimits(max_size=8, max_queue=12)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SHAPES = ([1, 2], [1, 3, 224, 224], [64, 1])


class Host:
    """A hosted model on a loop of its own, in a thread."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.hosted: Hosted = self.run(self._start())

    async def _start(self) -> Hosted:
        if self.where == "process":
            return await ProcessModel.start(Work(ModelSource(TARGET, "m"), LIMITS, None, "m"))
        model = loading.build(loading.load_class(TARGET), "m", None)
        loading.load(model)
        return HostedModel(model, LIMITS)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine returns on the model's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE)

    def do(self, what: str, **options: Any) -> Any:
        """The model's whole answer to a v1 request."""
        return self.run(self.hosted.infer({"do": what, **options}, {"x-a": "b"}))

    def end(self) -> None:
        """Stop the model and the loop."""
        self.run(self.hosted.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()


@pytest.fixture(scope="module", params=["thread", "process"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """The model, hosted."""
    found = Host(request.param)
    yield found
    found.end()


def test_it_runs_where_it_is_told_to(host: Host) -> None:
    """In a thread it has the server's process, in a process one of its own."""
    answer, _ = host.do("where")
    assert (answer["predictions"] == [os.getpid()]) == (host.where == "thread")


def test_hooks_headers_and_answer_are_as_ever(host: Host) -> None:
    """The model sees what the caller sent, through its hooks, and its answer comes back whole."""
    answer, given = host.do("echo", value=[1, "ä", None])
    assert answer == {
        "predictions": [{"do": "echo", "value": [1, "ä", None], "prepared": True}],
        "headers": {"x-a": "b"},
    }
    assert given == {}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_tensors_arrive_and_return_bit_by_bit(host: Host, shape: list[int], dtype: Any) -> None:
    """Small ones and large ones, of all types and in every layout."""
    array = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    request = tensors.new_request("m", {"x": array, "y": np.asfortranarray(array)}, binary_output=True)
    answer, _ = host.run(host.hosted.infer(request, {}))
    for tensor in answer.outputs:
        assert tensor.as_numpy().dtype == (array * 2).dtype
        assert np.array_equal(tensor.as_numpy(), array * 2)


def test_text_tensors_cross(host: Host) -> None:
    """BYTES are objects to numpy, and come as they are."""
    array = np.array([[b"a", b"\xff\x00" * 9000]], dtype=np.object_)
    answer, _ = host.run(host.hosted.infer(tensors.new_request("m", {"x": array}, binary_output=True), {}))
    assert answer.outputs[0].as_numpy().tolist() == [[b"aa", b"\xff\x00" * 18000]]


def test_a_grpc_request_keeps_its_parameters(host: Host) -> None:
    """They stay in the message they came in, as kserve leaves them, and cross all the same."""
    message = messages.ModelInferRequest(model_name="m", id="7")
    message.parameters["callid"].string_param = "a"
    message.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.extend([1.5])
    answer, _ = host.run(host.hosted.infer(rpc_tensors.load_request(message), {}))
    assert answer.id == "7"
    assert answer.outputs[0].as_numpy().tolist() == [3.0]


@pytest.mark.parametrize("name", ["input", "own", "family", "temporary", "permanent", "status", "exit", "stop"])
def test_a_fault_is_the_same_problem(host: Host, name: str) -> None:
    """Status, code, text and whether a retry helps, also of a class that only the user's file has."""
    with pytest.raises(Exception, match=r".") as caught:
        host.do("fail", fault=name)
    expected = {
        "input": (400, "invalid-input", "no such thing", False),
        "own": (500, "internal", "OwnError : ('broken', 7)", True),
        "family": (422, "permanent", "never (not at all)", False),
        "temporary": (503, "temporary", "later", True),
        "permanent": (422, "permanent", "no", False),
        "status": (418, "predictor", "teapot", False),
        "exit": (500, "internal", "RuntimeError : The model raised SystemExit: 3", True),
        "stop": (500, "internal", "RuntimeError : StopIteration: end", True),
    }
    found = faults.problem(caught.value)
    assert (found.status, found.code, found.detail, found.retriable) == expected[name]


@pytest.mark.parametrize("name", ["dataclass", "array", "bytes", "text"])
def test_an_answer_has_the_same_form_in_json(host: Host, name: str) -> None:
    """Whatever can be written as JSON, or as it is, is the same afterwards."""
    answer, _ = host.do("answer", answer=name)
    expected = {
        "dataclass": b'{"predictions":[{"label":"cat","score":0.5,"colour":"red"}]}',
        "array": b'{"predictions":[0,1,2]}',
    }
    if name in expected:
        assert orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY) == expected[name]
    else:
        assert answer == {"bytes": b"\x00\xff", "text": "words"}[name]


def test_an_answer_without_a_json_form_fails_alone(host: Host) -> None:
    """From a process it cannot even come; the next request is answered."""
    named = ("text", "anything", "text")
    calls: list[tuple[Any, dict[str, str]]] = [({"do": "answer", "answer": name}, {}) for name in named]
    outcomes = host.run(host.hosted.infer_all(calls))
    assert [outcomes[0][0], outcomes[2][0]] == ["words", "words"]
    if host.where == "process":
        assert isinstance(outcomes[1], HeadraceError)
        with pytest.raises(HeadraceError, match=r"has no JSON form: .*Anything"):
            host.do("answer", answer="anything")
    assert host.do("answer", answer="text")[0] == "words"


def test_many_requests_of_one_caller_keep_their_order(host: Host) -> None:
    """Each has its own answer, or its own fault in its place."""
    calls: list[tuple[Any, dict[str, str]]] = [({"do": "echo", "value": n}, {}) for n in range(9)]
    calls[4] = ({"do": "fail", "fault": "permanent"}, {})
    outcomes = host.run(host.hosted.infer_all(calls))
    assert faults.problem(outcomes[4]).code == "permanent"
    values = [outcome[0]["predictions"][0]["value"] for at, outcome in enumerate(outcomes) if at != 4]
    assert values == [0, 1, 2, 3, 5, 6, 7, 8]


def test_requests_that_wait_go_together(host: Host) -> None:
    """The batcher stands where the model is: several requests, one run, each its own rows."""

    async def all_at_once() -> list[Any]:
        blocking = asyncio.ensure_future(host.hosted.infer({"do": "wait", "seconds": 0.2}, {}))
        await asyncio.sleep(0)
        asked = [tensors.new_request("m", {"x": np.full((1, 2), n, np.float32)}, binary_output=True) for n in range(8)]
        answers = await asyncio.gather(*(host.hosted.infer(each, {}) for each in asked))
        await blocking
        return [answer for answer, _ in answers]

    answers = host.run(all_at_once())
    assert [answer.outputs[0].as_numpy().tolist() for answer in answers] == [[[2.0 * n] * 2] for n in range(8)]
    assert max(answer.parameters["rows"] for answer in answers) > 1


def test_more_than_may_wait_are_refused(host: Host) -> None:
    """The bound is the model's; those within it are answered."""

    async def too_many() -> list[Any]:
        calls = [host.hosted.infer({"do": "wait", "seconds": 0 if n else 1}, {}) for n in range(15)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    outcomes = host.run(too_many())
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
    assert len(refused) == 3
    assert all(fault.retry_after >= 1 for fault in refused)
    assert not host.hosted.taken


def test_a_cancelled_request_is_not_run(host: Host) -> None:
    """It leaves the line before its turn comes."""

    async def cancelled() -> Any:
        blocking = asyncio.ensure_future(host.hosted.infer({"do": "wait", "seconds": 0.3}, {}))
        await asyncio.sleep(0)
        noted = [asyncio.ensure_future(host.hosted.infer({"do": "note", "note": n}, {})) for n in range(2)]
        await asyncio.sleep(0)
        noted[0].cancel()
        await asyncio.wait({blocking, *noted})
        return (await host.hosted.infer({"do": "seen"}, {}))[0]

    assert host.run(cancelled()) == {"predictions": [1]}


def test_a_deadline_ends_a_request(host: Host) -> None:
    """One that is over while the model works answers 504, not later."""

    async def late() -> None:
        await host.hosted.infer({"do": "wait", "seconds": 0.6}, {"x-envoy-expected-rq-timeout-ms": "50"})

    with pytest.raises(DeadlineExceededError):
        host.run(late())


def test_the_callers_trace_reaches_the_model(host: Host) -> None:
    """A context of one request is current in its run, and in no other."""

    async def traced() -> Any:
        token = otel_context.attach(tracing.extract({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}))
        try:
            first = await host.hosted.infer({"do": "trace"}, {})
        finally:
            otel_context.detach(token)
        return first[0], (await host.hosted.infer({"do": "trace"}, {}))[0]

    mine, none = host.run(traced())
    assert mine == {"predictions": [TRACE]}
    assert none == {"predictions": ["0" * 32]}


def test_an_answer_in_parts_comes_in_parts(host: Host) -> None:
    """Each part when it is asked for; a fault in the middle ends it."""

    async def read(**options: Any) -> list[str]:
        stream, _ = await host.hosted.infer({"do": "stream", "parts": 3, **options}, {})
        return [part async for part in stream]

    assert host.run(read()) == ["0,", "1,", "2,"]
    with pytest.raises(Exception, match="in the middle"):
        host.run(read(breaks=True))


def test_a_stream_that_nobody_reads_to_its_end_is_let_go(host: Host) -> None:
    """The model's generator is closed, and the model goes on."""

    async def first() -> str:
        stream, _ = await host.hosted.infer({"do": "stream", "parts": 1000}, {})
        async for part in stream:
            await stream.aclose()
            return str(part)
        return ""

    assert host.run(first()) == "0,"
    assert host.do("answer", answer="text")[0] == "words"


def test_what_a_model_says_of_itself(host: Host) -> None:
    """Its types, its explanations, its health."""
    assert host.hosted.explains
    assert host.run(host.hosted.explain({"do": "why"}, {}))[0] == {"explanations": ["why"]}
    inputs, outputs = host.run(host.hosted.types())
    assert (inputs[0]["name"], outputs) == ("x", [])
    assert host.run(host.hosted.ready())
    host.do("health", ill=True)
    assert not host.run(host.hosted.ready())
    host.do("health", ill=False)
