"""A batch of events takes one of two ways: all in one turn where nobody traces, each in a task of its own else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from headrace.errors import InvalidInputError, OverloadedError, TemporaryError
from headrace.models.hooks import at_once, never_waits
from headrace.models.kserve_api import Model
from headrace.serving.settings import BatchLimits
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

HEADERS = {"content-type": "application/cloudevents-batch+json", "x-tenant": "acme"}


class Particular(Model):
    """Answers in every form there is, and fails in every way."""

    @never_waits
    async def preprocess(self, payload: Any, headers: Any = None) -> Any:
        """Refuse what says so."""
        if isinstance(payload, dict) and payload.get("refuse"):
            raise InvalidInputError("told to refuse")
        return payload

    def predict(self, payload: Any, headers: Any = None) -> Any:
        """What the payload asks for, and what the model saw."""
        kind = payload.get("kind") if isinstance(payload, dict) else "bytes"
        if kind == "later":
            raise TemporaryError("later perhaps")
        if kind == "crash":
            raise RuntimeError("crashed")
        if kind == "set":
            return {1, 2}
        if kind == "coroutine":
            return asyncio.sleep(0, {"predictions": "awaited"})
        seen = {name: value for name, value in sorted(headers.items()) if name not in ("content-length", "host")}
        return {"predictions": seen, "was": str(payload)}


def event(number: int, data: Any = None, **attributes: Any) -> dict[str, Any]:
    own = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t"}
    return {**own, **({} if data is None else {"data": data}), **attributes}


ITEMS: list[Any] = [
    event(1, {"kind": "plain"}, partitionkey="p", subject="s"),
    event(2),
    event(3, {"refuse": True}),
    {"id": "no source"},
    event(5, {"kind": "later"}),
    event(6, {"kind": "crash"}),
    event(7, {"kind": "set"}),
    event(8, {"kind": "coroutine"}),
    event(9, data_base64="AAEC", datacontenttype="image/png"),
    event(10, {"kind": "plain"}, expirytime="2020-01-01T00:00:00Z"),
    17,
    event(12, {"kind": "plain"}, correlationid="c", flag=True, count=7),
]


def comparable(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers without what differs from one time to the next."""
    changing = ("time", "traceparent")
    return [
        {name: value for name, value in item.items() if name not in changing and not str(value).startswith("unid")}
        for item in items
    ]


def test_both_ways_give_the_same_answers(serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Good ones, bad ones, expired ones, ones that are no event: the same, in the same order, either way."""
    answers = []
    for traced in (False, True):
        monkeypatch.setattr(tracing, "active", lambda traced=traced: traced)
        batch = serving(Particular("m"), lambda server: server.ask("POST", "/", orjson.dumps(ITEMS), HEADERS))
        assert batch.status == 200
        answers.append(comparable(batch.json))
    assert answers[0] == answers[1]
    assert [item["type"].split(".")[-2] for item in answers[0]] == [
        *("result", "result", "error", "error", "error", "error", "error", "result", "result", "error", "error"),
        "result",
    ]
    assert answers[0][0]["data"]["predictions"]["x-tenant"] == "acme"
    assert answers[0][0]["data"]["predictions"]["ce-partitionkey"] == "p"


def test_more_events_than_a_model_may_take_on(serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one batch at most as many are worked on as the model may have in hand; the others are told to come again."""
    monkeypatch.setattr(tracing, "active", lambda: False)
    body = orjson.dumps([event(number, {"kind": "plain"}) for number in range(5)])
    batch = serving(Particular("m"), lambda server: server.ask("POST", "/", body, HEADERS), BatchLimits(max_queue=3))
    codes = [item["data"].get("code") for item in batch.json]
    assert codes == [None, None, None, OverloadedError.code, OverloadedError.code]


def test_a_long_batch_is_worked_on_in_parts(serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """200 events of one request are answered in order, though a model may have no more than 100 in hand."""
    monkeypatch.setattr(tracing, "active", lambda: False)
    body = orjson.dumps([event(number, {"n": number}) for number in range(200)])
    batch = serving(Particular("m"), lambda server: server.ask("POST", "/", body, HEADERS), BatchLimits(max_queue=100))
    assert [item["causationid"] for item in batch.json] == [str(number) for number in range(200)]
    assert [item["data"]["was"] for item in batch.json] == [str({"n": number}) for number in range(200)]


def test_a_hook_that_is_marked_and_waits_is_named() -> None:
    """The mark is a promise: breaking it is an error that says which hook."""

    @never_waits
    async def hook() -> None:
        await asyncio.sleep(0)

    with pytest.raises(Exception, match=r"hook is marked never_waits, and waited \(take the mark away\)"):
        at_once(hook())
