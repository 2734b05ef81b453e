"""A run that fails, a deadline that passes, a caller that leaves: each is the matter of one request alone."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headrace.errors import InvalidInputError, TemporaryError
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.serving.settings import BatchLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Doubles(TensorBatching, Model):
    """Doubles its rows behind a gate; a number below 0 is refused, and -1 fails for a time only."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.runs: list[list[float]] = []
        self.open = threading.Event()
        self.begun = threading.Event()
        self.collating = threading.Event()

    def collate(self, requests: Any) -> InferRequest:
        """As the base does; tells that it is called."""
        self.collating.set()
        return super().collate(requests)

    def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Wait for the gate, then answer or refuse."""
        rows = payload.inputs[0].as_numpy()
        self.runs.append(rows.ravel().tolist())
        self.begun.set()
        assert self.open.wait(30)
        if (rows == -1).any():
            raise TemporaryError("later perhaps")
        if (rows < 0).any():
            raise InvalidInputError("a negative number")
        return tensors.new_response(self.name, {"y": rows * 2}, response_id=payload.id)


async def infer(server: Any, value: float, **headers: str) -> float | int:
    """The doubled value; where the answer is an error, its status."""
    own, body = tensors.dump_request(tensors.new_request("m", {"x": np.array([[value]], np.float64)}))
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    answer = await server.ask("POST", "/v2/models/m/infer", body, {**own, **named})
    if answer.status != 200:
        return int(answer.status)
    response = tensors.load_response(answer.body, answer.headers[tensors.HEADER_LENGTH])
    return float(response.outputs[0].as_numpy()[0, 0])


async def until(true: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not true():  # noqa: ASYNC110  # what is awaited is told by no event of the loop
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), 30)


async def behind(server: Any, model: Doubles, calls: list[Awaitable[Any]]) -> list[Any]:
    """What these calls come to that all wait while a first one runs."""
    first = asyncio.ensure_future(infer(server, 0.0))
    await until(model.begun.is_set)
    waiting = [asyncio.ensure_future(call) for call in calls]
    await until(lambda: server.hosted.taken == len(calls) + 1)
    model.open.set()
    assert await first == 0.0
    return await asyncio.gather(*waiting)


def test_a_failing_batch_is_halved_until_the_guilty_one_is_alone(serving: Callable[..., Any]) -> None:
    """One bad request among 32 costs eleven runs, not 33, and its neighbours have their answers."""
    model = Doubles("m")
    values = [float(n) if n != 21 else -5.0 for n in range(32)]
    answers = serving(model, lambda server: behind(server, model, [infer(server, value) for value in values]))
    assert answers == [2 * value if value >= 0 else 400 for value in values]
    runs = model.runs[1:]
    assert runs[0] == values
    assert [-5.0] in runs
    assert len(runs) == 11


def test_a_fault_of_the_model_is_no_requests_guilt(serving: Callable[..., Any]) -> None:
    """What may work later fails the whole batch at once, with 503 for each: nothing is tried 2n times."""
    model = Doubles("m")
    values = [1.0, 2.0, -1.0, 3.0]
    answers = serving(model, lambda server: behind(server, model, [infer(server, value) for value in values]))
    assert answers == [503] * 4
    assert model.runs[1:] == [values]


def test_one_that_waits_past_its_deadline_is_never_run(serving: Callable[..., Any]) -> None:
    """It is answered 504 while the model is still busy with the one before it; its neighbours are answered later."""
    model = Doubles("m")

    async def use(server: Any) -> Any:
        first = asyncio.ensure_future(infer(server, 1.0))
        await until(model.begun.is_set)
        patient = asyncio.ensure_future(infer(server, 2.0))
        late = await infer(server, 3.0, x_envoy_expected_rq_timeout_ms="20")
        model.open.set()
        return late, await first, await patient

    assert serving(model, use) == (504, 2.0, 4.0)
    assert model.runs == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("grpc_timeout", "20m"),
        ("x_envoy_expected_rq_timeout_ms", "20"),
    ],
)
def test_a_deadline_ends_the_wait_for_a_run_too(serving: Callable[..., Any], header: str, text: str) -> None:
    """The caller has its 504 while the model goes on; every way to state a deadline is understood."""
    model = Doubles("m")

    async def use(server: Any) -> Any:
        answer = await infer(server, 1.0, **{header: text})
        model.open.set()
        return answer

    assert serving(model, use) == 504


def test_a_deadline_that_is_no_time_is_none(serving: Callable[..., Any]) -> None:
    """Nonsense in such a header changes nothing."""
    model = Doubles("m")
    model.open.set()
    headers = {"grpc_timeout": "soon", "x_envoy_expected_rq_timeout_ms": "-1"}
    assert serving(model, lambda server: infer(server, 1.0, **headers)) == 2.0


def test_the_next_batch_is_collated_while_one_runs(serving: Callable[..., Any]) -> None:
    """As soon as nothing more can join it, and before the model is free."""
    model = Doubles("m")

    async def use(server: Any) -> Any:
        first = asyncio.ensure_future(infer(server, 0.0))
        await until(model.begun.is_set)
        pair = [asyncio.ensure_future(infer(server, value)) for value in (1.0, 2.0)]
        await until(model.collating.is_set)
        assert not first.done()
        assert model.runs == [[0.0]]
        model.open.set()
        return await asyncio.gather(first, *pair)

    assert serving(model, use, BatchLimits(max_size=2)) == [0.0, 2.0, 4.0]


def test_one_that_leaves_a_collated_batch_is_not_run(serving: Callable[..., Any]) -> None:
    """A client that goes away after its batch was collated is taken out of it before it runs."""
    model = Doubles("m")

    async def use(server: Any) -> Any:
        first = asyncio.ensure_future(infer(server, 0.0))
        await until(model.begun.is_set)
        stays = asyncio.ensure_future(infer(server, 1.0))
        leaves = asyncio.ensure_future(infer(server, 2.0))
        await until(model.collating.is_set)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        model.open.set()
        return await asyncio.gather(first, stays)

    assert serving(model, use, BatchLimits(max_size=2)) == [0.0, 2.0]
    assert model.runs == [[0.0], [1.0]]


def test_thousands_of_different_requests_are_never_mixed(serving: Callable[..., Any]) -> None:
    """4,000 values by 200 callers at once, some bad, some cancelled: each that stays has its own answer."""
    model = Doubles("m")
    model.open.set()
    statuses: Counter[str] = Counter()

    async def caller(server: Any, number: int) -> None:
        for step in range(20):
            value = float(number * 20 + step)
            if value % 97 == 5:
                assert await infer(server, -value) == 400
                statuses["bad"] += 1
            elif value % 89 == 7:
                leaving = asyncio.ensure_future(infer(server, value))
                await asyncio.sleep(0)
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
                statuses["left"] += 1
            else:
                assert await infer(server, value) == 2 * value
                statuses["good"] += 1

    async def use(server: Any) -> None:
        await asyncio.gather(*(caller(server, number) for number in range(200)))

    serving(model, use, BatchLimits(max_size=16))
    assert sum(statuses.values()) == 4000
    assert min(statuses.values()) > 30
    assert max(map(len, model.runs)) == 16


def test_a_full_model_says_when_it_will_have_worked_off_its_queue(serving: Callable[..., Any]) -> None:
    """``Retry-After`` of a 429 grows with the queue and the time that a request took lately; at least a second."""
    model = Doubles("m")
    model.open.set()

    async def use(server: Any) -> float:
        await infer(server, 1.0)
        batcher = server.hosted._batcher
        assert batcher.retry_after == 1.0
        model.open.clear()
        model.begun.clear()
        calls = [asyncio.ensure_future(infer(server, 2.0)) for _ in range(8)]
        await until(model.begun.is_set)
        batcher._pace = 0.5
        longer: float = batcher.retry_after
        model.open.set()
        await asyncio.gather(*calls)
        return longer

    assert serving(model, use) == 4.0


def test_runs_are_measured(serving: Callable[..., Any]) -> None:
    """How long each request waited, how long each run took, and how many requests it answered."""
    model = Doubles("measured")

    async def use(server: Any) -> str:
        first = asyncio.ensure_future(server.post("/v2/models/measured/infer", tensor(0.0)))
        await until(model.begun.is_set)
        calls = [asyncio.ensure_future(server.post("/v2/models/measured/infer", tensor(1.0))) for _ in range(3)]
        await until(lambda: server.hosted.taken == 4)
        model.open.set()
        await asyncio.gather(first, *calls)
        page: bytes = (await server.ask("GET", "/metrics")).body
        return page.decode()

    def tensor(value: float) -> dict[str, Any]:
        return {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}]}

    page = serving(model, use)
    for line in (
        'headrace_queue_seconds_count{model="measured"} 4.0',
        'headrace_run_seconds_count{model="measured"} 2.0',
        'headrace_run_requests_bucket{le="1.0",model="measured"} 1.0',
        'headrace_run_requests_sum{model="measured"} 4.0',
    ):
        assert line in page


def test_single_runs_are_measured_each(serving: Callable[..., Any]) -> None:
    """Of a model without hooks every request is a run, also where the answers of several are told together."""

    class Alone(Model):
        def predict(self, payload: Any, headers: Any = None) -> Any:
            return payload

    async def use(server: Any) -> str:
        await asyncio.gather(*(server.post("/v1/models/alone:predict", {"n": n}) for n in range(5)))
        page: bytes = (await server.ask("GET", "/metrics")).body
        return page.decode()

    page = serving(Alone("alone"), use)
    for name in ("queue_seconds", "run_seconds", "run_requests"):
        assert f'headrace_{name}_count{{model="alone"}} 5.0' in page
    assert 'headrace_run_requests_sum{model="alone"} 5.0' in page
