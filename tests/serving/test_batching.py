"""Requests merged into runs of the model."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headrace.errors import InvalidInputError
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.serving.settings import BatchLimits

if TYPE_CHECKING:
    from collections.abc import Callable


class Squares(TensorBatching, Model):
    """Squares its rows; remembers how many each run had, and refuses a batch with a negative number in it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.runs: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()

    def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Wait until the gate is open, then answer."""
        self.begun.set()
        assert self.open.wait(10)
        rows = payload.inputs[0].as_numpy()
        self.runs.append(len(rows))
        if (rows < 0).any():
            raise InvalidInputError("a negative number")
        return tensors.new_response(self.name, {"y": rows * rows}, response_id=payload.id)


async def asked(server: Any, *values: float, columns: int = 1) -> Any:
    array = np.array(values, dtype=np.float32).reshape(-1, columns)
    headers, body = tensors.dump_request(tensors.new_request("m", {"x": array}))
    answer = await server.ask("POST", "/v2/models/m/infer", body, headers)
    if answer.status != 200:
        return answer.status, answer.json["error"]
    response = tensors.load_response(answer.body, answer.headers[tensors.HEADER_LENGTH])
    return response.outputs[0].as_numpy().ravel().tolist()


async def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not true() and time.monotonic() < ends:  # noqa: ASYNC110  # what is awaited is told by no event
        await asyncio.sleep(0.001)
    assert true()


async def gathered(server: Any, model: Squares, *rows: tuple[float, ...]) -> list[Any]:
    """The answers to these requests, where the first one runs while all the others gather behind it."""
    model.open.clear()
    calls = [asyncio.ensure_future(asked(server, *rows[0]))]
    await until(model.begun.is_set)
    calls += [asyncio.ensure_future(asked(server, *values)) for values in rows[1:]]
    await until(lambda: server.hosted.taken == len(rows))
    model.open.set()
    return await asyncio.gather(*calls)


def test_each_caller_gets_its_own_answer(serving: Callable[..., Any]) -> None:
    """64 different inputs at once are answered each by its own square, in far fewer runs."""
    model = Squares("m")

    answers = serving(model, lambda server: gathered(server, model, *((float(n),) for n in range(64))))
    assert answers == [[float(n * n)] for n in range(64)]
    assert model.runs == [1, 32, 31]


def test_a_lone_request_waits_for_nobody(serving: Callable[..., Any]) -> None:
    """Without a delay the first request runs at once and alone."""
    model = Squares("m")
    assert serving(model, lambda server: asked(server, 3.0)) == [9.0]
    assert model.runs == [1]


def test_a_delay_gathers_company(serving: Callable[..., Any]) -> None:
    """With a delay an idle model waits for more; a full batch does not wait for the end of it."""
    model = Squares("m")
    answers = serving(
        model,
        lambda server: asyncio.gather(*(asked(server, float(n)) for n in range(4))),
        BatchLimits(max_size=4, max_delay=3600.0),
    )
    assert answers == [[0.0], [1.0], [4.0], [9.0]]
    assert model.runs == [4]


def test_requests_of_several_rows_are_counted_by_rows(serving: Callable[..., Any]) -> None:
    """A batch has at most ``max_size`` rows; a request that has more of its own runs alone."""
    model = Squares("m")

    rows = ((1.0,), (2.0, 3.0), (4.0,), (5.0,) * 5)
    answers = serving(model, lambda server: gathered(server, model, *rows), BatchLimits(max_size=3))
    assert answers == [[1.0], [4.0, 9.0], [16.0], [25.0] * 5]
    assert model.runs == [1, 3, 5]


def test_other_shapes_do_not_mix(serving: Callable[..., Any]) -> None:
    """Only tensors that are alike but for their first axis are merged; the others keep their place in the line."""
    model = Squares("m")

    async def use(server: Any) -> list[Any]:
        model.open.clear()
        first = asyncio.ensure_future(asked(server, 0.0))
        await until(model.begun.is_set)
        pairs = [asyncio.ensure_future(asked(server, float(n), 1.0, columns=1 + n % 2)) for n in range(4)]
        await until(lambda: server.hosted._batcher.waiting == 4)
        model.open.set()
        return await asyncio.gather(first, *pairs)

    answers = serving(model, use)
    assert answers == [[0.0], [0.0, 1.0], [1.0, 1.0], [4.0, 1.0], [9.0, 1.0]]
    assert model.runs == [1, 4, 2]


def test_only_the_guilty_one_fails(serving: Callable[..., Any]) -> None:
    """When a merged run fails, each request runs alone, so that its neighbours are answered."""
    model = Squares("m")

    answers = serving(model, lambda server: gathered(server, model, (1.0,), (2.0,), (-3.0,), (4.0,)))
    assert answers == [[1.0], [4.0], (400, "a negative number"), [16.0]]


def test_a_full_queue_answers_429(serving: Callable[..., Any]) -> None:
    """Beyond the bound a request is refused at once, with a time to come back; those before it are answered."""
    model = Squares("m")

    async def use(server: Any) -> Any:
        model.open.clear()
        calls = [asyncio.ensure_future(asked(server, float(n))) for n in range(3)]
        await until(lambda: server.hosted._taken == 3)
        headers, body = tensors.dump_request(tensors.new_request("m", {"x": np.zeros((1, 1), np.float32)}))
        refused = await server.ask("POST", "/v2/models/m/infer", body, headers)
        model.open.set()
        return refused, await asyncio.gather(*calls), await asked(server, 9.0)

    refused, answers, later = serving(model, use, BatchLimits(max_queue=3))
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert answers == [[0.0], [1.0], [4.0]]
    assert later == [81.0]


def test_a_client_that_went_away_leaves_the_queue(serving: Callable[..., Any]) -> None:
    """Its request is never run; its neighbours are."""
    model = Squares("m")

    async def use(server: Any) -> Any:
        model.open.clear()
        first = asyncio.ensure_future(asked(server, 1.0))
        await until(model.begun.is_set)
        gone = asyncio.Event()
        headers, body = tensors.dump_request(tensors.new_request("m", {"x": np.zeros((7, 1), np.float32)}))
        leaving = asyncio.ensure_future(server.ask("POST", "/v2/models/m/infer", body, headers, gone))
        last = asyncio.ensure_future(asked(server, 2.0))
        await until(lambda: server.hosted._batcher.waiting == 2)
        gone.set()
        assert (await leaving).status == 0
        model.open.set()
        return await asyncio.gather(first, last)

    assert serving(model, use) == [[1.0], [4.0]]
    assert model.runs == [1, 1]


def test_a_slow_model_does_not_hold_the_server(serving: Callable[..., Any]) -> None:
    """While a blocking ``predict`` runs, probes are answered: it does not run on the event loop."""
    model = Squares("m")

    async def use(server: Any) -> Any:
        model.open.clear()
        slow = asyncio.ensure_future(asked(server, 1.0))
        await until(model.begun.is_set)
        probes = [(await server.ask("GET", path)).status for path in ("/", "/v2/health/live", "/v2/health/ready")]
        assert not slow.done()
        model.open.set()
        return probes, await slow

    assert serving(model, use) == ([200, 200, 200], [1.0])


def test_a_model_without_hooks_runs_one_by_one(serving: Callable[..., Any]) -> None:
    """A plain blocking model is never called twice at a time, and never with a merged request."""

    class Plain(Model):
        inside = 0

        def predict(self, payload: Any, headers: Any = None) -> Any:
            assert self.inside == 0
            self.inside += 1
            threading.Event().wait(0.001)
            self.inside -= 1
            return payload

    async def use(server: Any) -> list[Any]:
        answers = await asyncio.gather(*(server.post("/v1/models/m:predict", {"n": n}) for n in range(16)))
        return [answer.json["n"] for answer in answers]

    assert serving(Plain("m"), use) == list(range(16))


def test_async_hooks_run_together(serving: Callable[..., Any]) -> None:
    """``async`` models wait side by side on the loop: the last caller is answered while the first still waits."""
    everybody = 8

    class Meeting(Model):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.present = 0
            self.all_here = asyncio.Event()

        async def predict(self, payload: Any, headers: Any = None) -> Any:
            self.present += 1
            if self.present == everybody:
                self.all_here.set()
            await self.all_here.wait()
            return payload

    async def use(server: Any) -> list[int]:
        calls = (server.post("/v1/models/m:predict", {"n": n}) for n in range(everybody))
        return [answer.status for answer in await asyncio.gather(*calls)]

    assert serving(Meeting("m"), use) == [200] * everybody


@pytest.mark.parametrize("fault", [SystemExit(3), StopIteration("over"), KeyboardInterrupt()])
def test_nothing_a_model_raises_ends_its_thread(serving: Callable[..., Any], fault: BaseException) -> None:
    """``sys.exit()`` in a model fails that request with 500, and the next one is answered."""

    class Leaving(Model):
        def predict(self, payload: Any, headers: Any = None) -> Any:
            if payload.get("leave"):
                raise fault
            return payload

    async def use(server: Any) -> list[int]:
        values: list[dict[str, bool]] = [{"leave": True}, {}]
        return [(await server.post("/v1/models/m:predict", value)).status for value in values]

    assert serving(Leaving("m"), use) == [500, 200]
