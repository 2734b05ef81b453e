"""State by key: each request is given what its key's last one left, whoever else is merged with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.keyed_state import KeyedModel
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.serving.hosting import HostedModel
from headrace.serving.settings import BatchLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Totals(KeyedModel, TensorBatching, Model):
    """Answers the sum of all that its key has sent so far; a number below 0 is refused, 0 ends the key."""

    state_key = "callid"
    state_limit = 100

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sizes: list[int] = []

    def predict_keyed(
        self, payload: InferRequest, headers: dict[str, str], states: Sequence[Any]
    ) -> tuple[InferResponse, Sequence[Any]]:
        """Add each row to its key's total."""
        rows = payload.inputs[0].as_numpy().ravel()
        self.sizes.append(len(rows))
        if (rows < 0).any():
            raise InvalidInputError("a negative number")
        totals = [(state or 0.0) + row for state, row in zip(states, rows.tolist(), strict=True)]
        answer = tensors.new_response(self.name, {"total": np.array(totals)[:, None]}, response_id=payload.id)
        return answer, [total if row else None for total, row in zip(totals, rows, strict=True)]


async def total(server: Any, key: str | None, value: float) -> float | int:
    request = tensors.new_request("m", {"x": np.array([[value]])})
    request.parameters = {**(request.parameters or {}), **({} if key is None else {"callid": key})}
    headers, body = tensors.dump_request(request)
    answer = await server.ask("POST", "/v2/models/m/infer", body, headers)
    if answer.status != 200:
        return int(answer.status)
    return float(tensors.load_response(answer.body, answer.headers[tensors.HEADER_LENGTH]).outputs[0].as_numpy()[0, 0])


def test_requests_of_a_key_come_one_after_another(serving: Callable[..., Any]) -> None:
    """50 keys send 20 numbers each, all at once: every total is of its own key and in the order sent."""
    model = Totals("m")

    async def use(server: Any) -> list[list[Any]]:
        calls = [[total(server, f"call-{key}", float(key)) for _ in range(20)] for key in range(1, 51)]
        return list(await asyncio.gather(*(asyncio.gather(*mine) for mine in calls)))

    answers = serving(model, use, BatchLimits(max_size=32, max_queue=2000))
    assert answers == [[float(key * (n + 1)) for n in range(20)] for key in range(1, 51)]
    assert max(model.sizes) == 32


def test_a_failed_run_leaves_every_state_as_it_was(serving: Callable[..., Any]) -> None:
    """The guilty request changes nothing, and its neighbours in the batch count once although they ran twice."""
    model = Totals("m")

    async def use(server: Any) -> Any:
        first = await asyncio.gather(total(server, "a", 1.0), total(server, "b", -1.0), total(server, "c", 3.0))
        return first, [await total(server, key, 1.0) for key in ("a", "b", "c")]

    assert serving(model, use) == ([1.0, 400, 3.0], [2.0, 1.0, 4.0])


def test_a_key_is_forgotten_when_its_state_is_none_or_the_oldest(serving: Callable[..., Any]) -> None:
    """None ends a key; beyond ``state_limit`` the one that was used longest ago goes. No key, no state."""
    model = Totals("m")
    model.state_limit = 2  # type: ignore[misc]  # the limit of this one alone

    async def use(server: Any) -> list[Any]:
        steps = [("a", 1.0), ("b", 1.0), ("a", 1.0), ("c", 1.0), ("b", 1.0), ("b", 0.0), ("b", 1.0), (None, 1.0)]
        return [await total(server, key, value) for key, value in [*steps, (None, 1.0)]]

    assert serving(model, use) == [1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_the_key_of_an_event_is_its_attribute(serving: Callable[..., Any]) -> None:
    """Events of a batch bring their key as an extension; a plain request may as a parameter."""
    model = Totals("m")

    def event(number: int, key: str) -> dict[str, Any]:
        data = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1.0]}]}
        return {
            "specversion": "1.0", "id": str(number), "source": "/s", "type": "t", "callid": key, "data": data
        }  # fmt: skip

    async def use(server: Any) -> Any:
        body = orjson.dumps([event(0, "x"), event(1, "y"), event(2, "x")])
        headers = {"content-type": "application/cloudevents-batch+json"}
        batch = await server.ask("POST", "/v2/models/m/infer", body, headers)
        request = {**event(3, "x")["data"], "parameters": {"callid": "x"}}
        plain = await server.post("/v2/models/m/infer", request)
        return [item["data"]["outputs"][0]["data"] for item in batch.json], plain.json["outputs"][0]["data"]

    assert serving(model, use) == ([[1.0], [1.0], [2.0]], [3.0])


def test_under_kserves_own_server_the_model_keeps_the_state_itself() -> None:
    """There ``predict`` is called, with the headers: it has the same answers."""
    model = Totals("m")
    answers = []
    for key in ("a", "b", "a"):
        request = tensors.new_request("m", {"x": np.array([[2.0]])})
        answers.append(model.predict(request, {"ce-callid": key}).outputs[0].as_numpy()[0, 0])
    assert answers == [2.0, 2.0, 4.0]


def test_a_keyed_model_that_answers_on_the_loop_is_refused() -> None:
    """Its requests of one key could meet: it does not load, and the message says how to write it."""

    class Loose(KeyedModel, Model):
        state_key = "callid"

        async def predict(self, payload: Any, headers: Any = None) -> Any:
            return payload

    with pytest.raises(ModelLoadError, match=r"callid.*predict_keyed"):
        HostedModel(Loose("m"), BatchLimits())
