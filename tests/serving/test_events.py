"""CloudEvents to a model, and what comes back."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from headrace.errors import InvalidInputError, TemporaryError
from headrace.eventing import replicas
from headrace.eventing.codec import json_format
from headrace.eventing.event import CloudEvent
from headrace.eventing.results import ERROR_TYPE, RESULT_TYPE, is_error, read_problem
from headrace.models.kserve_api import InvalidInput, Model

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
JSON = {"content-type": "application/json"}
STRUCTURED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


class Echo(Model):
    """Answers with what it was given, and what it saw of the headers."""

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Say the payload's type and value."""
        if isinstance(payload, dict) and "raise" in payload:
            raise {"input": InvalidInput, "ours": InvalidInputError, "later": TemporaryError}.get(
                payload["raise"], ZeroDivisionError
            )("told to")
        kind = type(payload).__name__
        value = base64.b64encode(payload).decode() if isinstance(payload, bytes) else payload
        return {"kind": kind, "value": value, "id": (headers or {}).get("ce-id")}


def one(serving: Callable[..., Any], body: bytes, headers: dict[str, str], path: str = "/") -> Any:
    return serving(Echo("m"), lambda server: server.ask("POST", path, body, headers))


@pytest.mark.parametrize("path", ["/", "/v1/models/m:predict"])
@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_binary_json_reaches_the_model_decoded(serving: Callable[..., Any], path: str, media_type: str) -> None:
    """JSON data is decoded however its media type is spelt, on both paths; the answer is a binary result event."""
    headers = {**EVENT, "content-type": media_type, "ce-subject": "s", "ce-partitionkey": "k", "prefer": "reply"}
    answer = one(serving, b'{"instances": [1]}', headers, path)
    assert answer.status == 200
    assert answer.json == {"kind": "dict", "value": {"instances": [1]}, "id": "1"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["ce-type"] == RESULT_TYPE
    assert answer.headers["ce-source"] == "/headrace/vision/labels"
    assert (answer.headers["ce-subject"], answer.headers["ce-partitionkey"]) == ("s", "k")
    assert (answer.headers["ce-correlationid"], answer.headers["ce-causationid"]) == ("1", "1")
    assert (answer.headers["ce-modelname"], answer.headers["ce-modelversion"]) == ("m", "7")


def test_a_redelivered_event_gets_the_same_id(serving: Callable[..., Any]) -> None:
    """The result's id depends on the request alone, so that a reader can drop the second."""
    first, second = (one(serving, b"{}", {**EVENT, **JSON}) for _ in range(2))
    other = one(serving, b"{}", {**EVENT, **JSON, "ce-source": "/other"})
    assert first.headers["ce-id"] == second.headers["ce-id"] != other.headers["ce-id"]


def test_data_that_is_no_json_stays_bytes(serving: Callable[..., Any]) -> None:
    """A picture reaches the model as the bytes it is."""
    answer = one(serving, b"\x89PNG", {**EVENT, "content-type": "image/png"})
    assert answer.json == {"kind": "bytes", "value": base64.b64encode(b"\x89PNG").decode(), "id": "1"}


@pytest.mark.parametrize("headers", [EVENT, {**EVENT, **JSON}])
def test_an_event_without_data_reaches_the_model(serving: Callable[..., Any], headers: dict[str, str]) -> None:
    """Data is optional (CloudEvents section 3.2): the model gets no bytes."""
    answer = one(serving, b"", headers)
    assert (answer.status, answer.json["kind"], answer.json["value"]) == (200, "bytes", "")


@pytest.mark.parametrize("media_type", ["application/cloudevents+json", "application/cloudevents+json; charset=UTF-8"])
def test_structured_in_structured_out(serving: Callable[..., Any], media_type: str) -> None:
    """A structured event needs no ``time`` and may name a charset; its result is structured too."""
    body = orjson.dumps({**STRUCTURED, "data": {"instances": [1]}})
    answer = one(serving, body, {"content-type": media_type})
    assert answer.headers["content-type"] == "application/cloudevents+json"
    assert answer.json["type"] == RESULT_TYPE
    assert answer.json["data"] == {"kind": "dict", "value": {"instances": [1]}, "id": "1"}


def test_structured_base64_data_is_decoded(serving: Callable[..., Any]) -> None:
    """``data_base64`` reaches the model as its bytes, as if it had come in binary mode."""
    body = orjson.dumps({**STRUCTURED, "datacontenttype": "image/png", "data_base64": "iVBORw=="})
    answer = one(serving, body, {"content-type": "application/cloudevents+json"})
    assert answer.json["data"]["value"] == "iVBORw=="


def test_a_missing_attribute_is_an_error_event(serving: Callable[..., Any]) -> None:
    """A message with some ``ce-`` headers means to be an event: one that is none is refused, and told why."""
    headers = {name: value for name, value in EVENT.items() if name != "ce-id"}
    answer = one(serving, b"{}", {**headers, **JSON})
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["ce-type"] == ERROR_TYPE
    assert answer.headers["ce-id"].startswith("unidentified-")
    assert "ce-correlationid" not in answer.headers
    assert "'id' is missing" in answer.json["detail"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"id": 1.5}', b'"x"'])
def test_a_malformed_structured_event_is_refused(serving: Callable[..., Any], body: bytes) -> None:
    """What is no CloudEvents JSON answers 400 in the mode it was asked in."""
    answer = one(serving, body, {"content-type": "application/cloudevents+json"})
    assert (answer.status, answer.json["type"], answer.json["data"]["code"]) == (400, ERROR_TYPE, "invalid-event")


def test_json_that_is_none_is_refused(serving: Callable[..., Any]) -> None:
    """Data that claims to be JSON and is not never reaches the model."""
    answer = one(serving, b"{", {**EVENT, **JSON})
    assert (answer.status, answer.json["code"], answer.json["retriable"]) == (400, "invalid-input", False)


@pytest.mark.parametrize(
    ("told", "status", "code", "retriable"),
    [
        ("input", 400, "invalid-input", False),
        ("ours", 400, "invalid-input", False),
        ("later", 503, "temporary", True),
        ("crash", 500, "internal", True),
    ],
)
def test_a_failing_model_answers_an_error_event(
    serving: Callable[..., Any], told: str, status: int, code: str, *, retriable: bool
) -> None:
    """The status says whether to retry; the event refers to the request and holds the problem."""
    answer = one(serving, orjson.dumps({"raise": told}), {**EVENT, **JSON})
    assert (answer.status, answer.json["code"], answer.json["retriable"]) == (status, code, retriable)
    assert (answer.headers["ce-type"], answer.headers["ce-causationid"]) == (ERROR_TYPE, "1")
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(("offset", "status"), [(-1, 410), (60, 200)])
def test_an_expired_event_never_reaches_the_model(serving: Callable[..., Any], offset: int, status: int) -> None:
    """``expirytime`` in the past is told so, and is not retried; one in the future is answered."""
    moment = (datetime.now(tz=timezone.utc) + timedelta(seconds=offset)).isoformat()
    answer = one(serving, b"{}", {**EVENT, **JSON, "ce-expirytime": moment})
    assert answer.status == status
    if status != 200:
        assert "expired" in answer.json["detail"]
        assert answer.json["retriable"] is False


def test_each_item_of_a_batch_is_answered_in_order(serving: Callable[..., Any]) -> None:
    """A bad item gets its error event, at its place; its neighbours get their results; the batch answers 200."""
    items = [
        {**STRUCTURED, "id": "a", "data": {"instances": [0]}},
        {"specversion": "1.0", "id": "no source"},
        {**STRUCTURED, "id": "b", "data": {"raise": "input"}},
        {**STRUCTURED, "id": "c", "datacontenttype": "image/png", "data_base64": "iVBORw=="},
    ]
    headers = {"content-type": "application/cloudevents-batch+json; charset=utf-8"}
    answer = one(serving, orjson.dumps(items), headers)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/cloudevents-batch+json"
    events = json_format.load_batch(answer.body)
    assert [isinstance(event, CloudEvent) and is_error(event) for event in events] == [False, True, True, False]
    good, nameless, bad, picture = events
    assert isinstance(good, CloudEvent)
    assert isinstance(picture, CloudEvent)
    assert isinstance(nameless, CloudEvent)
    assert isinstance(bad, CloudEvent)
    assert orjson.loads(good.data or b"")["id"] == good.get("causationid") == "a"
    assert orjson.loads(picture.data or b"") == {"kind": "bytes", "value": "iVBORw==", "id": "c"}
    assert nameless.id.startswith("unidentified-")
    assert read_problem(bad).status == 400
    assert bad.get("causationid") == "b"


@pytest.mark.parametrize(("body", "status"), [(b"[]", 200), (b"{}", 400), (b"[", 400)])
def test_a_batch_is_an_array(serving: Callable[..., Any], body: bytes, status: int) -> None:
    """An empty batch is answered by an empty one; what is no JSON array holds no events to answer."""
    answer = one(serving, body, {"content-type": "application/cloudevents-batch+json"})
    assert answer.status == status
    assert status == 400 or answer.json == []


def test_no_event_on_the_path_for_events(serving: Callable[..., Any]) -> None:
    """Plain JSON on ``/`` is told where plain requests go."""
    answer = one(serving, b"{}", JSON)
    assert answer.status == 400
    assert ":predict" in answer.json["error"]


def test_an_unknown_event_format_is_refused(serving: Callable[..., Any]) -> None:
    """A CloudEvents format other than JSON is named in the refusal."""
    answer = one(serving, b"", {"content-type": "application/cloudevents+avro"})
    assert answer.status == 400
    assert "avro" in answer.json["error"]


@pytest.mark.parametrize(
    ("given", "media_type", "data"),
    [(b"raw", "application/octet-stream", b"raw"), ("text", "text/plain; charset=utf-8", b"text")],
)
def test_a_model_may_answer_bytes_or_text(
    serving: Callable[..., Any], given: Any, media_type: str, data: bytes
) -> None:
    """The result says what its data is; it is not called JSON when it is none."""

    class Constant(Model):
        def predict(self, payload: Any, headers: Any = None) -> Any:
            return given

    answer = serving(Constant("m"), lambda server: server.ask("POST", "/", b"{}", {**EVENT, **JSON}))
    assert (answer.headers["content-type"], answer.body) == (media_type, data)


def test_events_are_counted_by_outcome(serving: Callable[..., Any]) -> None:
    """Results and each kind of error are counted, in batches too."""

    async def use(server: Any) -> str:
        items = [{**STRUCTURED, "id": str(n), "data": {"raise": "input"} if n else {}} for n in range(3)]
        headers = {"content-type": "application/cloudevents-batch+json"}
        await server.ask("POST", "/", orjson.dumps(items), headers)
        return str((await server.ask("GET", "/metrics")).body.decode())

    page = serving(Echo("m"), use)
    assert 'headrace_events_total{model="m",outcome="result"} 1.0' in page
    assert 'headrace_events_total{model="m",outcome="invalid-input"} 2.0' in page


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (EVENT, b"{}"),
        ({"content-type": "application/cloudevents+json"}, b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}'),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
        ({"content-type": "application/cloudevents-batch+json", "traceparent": f"00-{1:032x}-{2:016x}-01"}, b"[]"),
    ],
)
def test_answers_to_events_name_the_replica(serving: Callable[..., Any], headers: dict[str, str], body: bytes) -> None:
    """A dispatcher counts the replicas that are ready by it."""
    given = serving(Echo("m"), lambda server: server.ask("POST", "/", body, headers))
    assert given.headers[replicas.HEADER] == replicas.own_name()
