"""What KServe's server gets wrong, and Headrace's right: each a case, with KServe's answer beside it.

A case whose KServe half fails after an upgrade of kserve names a fault that was mended: take it off the list.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import Any

import orjson

from headrace.eventing.results import RESULT_TYPE
from headrace.models.kserve_api import messages

EVENT = {
    "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-subject": "sub",
    "ce-partitionkey": "k", "ce-dataschema": "urn:request",
}  # fmt: skip
ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
V1, V2 = "/v1/models/twin:predict", "/v2/models/twin/infer"
JSON = {"content-type": "application/json"}
DATA = {"instances": [1]}
TENSORS = {"id": "q", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]}
UNAVAILABLE, UNKNOWN, INTERNAL = 14, 2, 13


def structured(pair: Any, media_type: str, path: str = V1, **members: Any) -> Any:
    return pair.ask("POST", path, orjson.dumps({**ENVELOPE, **members}), {"content-type": media_type})


def binary(pair: Any, body: bytes, path: str = V1, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return pair.ask("POST", path, body, {**EVENT, **JSON, **named})


# --- CloudEvents ----------------------------------------------------------------------------------------------------


def test_an_event_and_its_redelivery_have_one_result(pair: Any) -> None:
    """The result's id is the same each time; KServe draws a new one, so that nobody can tell a repetition."""
    (theirs, ours), (theirs_again, ours_again) = (binary(pair, orjson.dumps(DATA)) for _ in range(2))
    assert theirs.headers["ce-id"] != theirs_again.headers["ce-id"]
    assert ours.headers["ce-id"] == ours_again.headers["ce-id"]
    assert ours.headers["ce-type"] == RESULT_TYPE


def test_a_result_says_what_it_is_of(pair: Any) -> None:
    """Subject, partition key, correlation and causation come along; the request's data schema does not."""
    theirs, ours = binary(pair, orjson.dumps(DATA))
    assert theirs.headers["ce-dataschema"] == "urn:request"
    assert "ce-causationid" not in theirs.headers
    assert "ce-dataschema" not in ours.headers
    kept = [ours.headers[f"ce-{name}"] for name in ("subject", "partitionkey", "correlationid", "causationid")]
    assert kept == ["sub", "k", "1", "1"]


def test_a_structured_event_needs_no_time(pair: Any) -> None:
    """``time`` is optional; KServe then hands the envelope to the model, and fails."""
    theirs, ours = structured(pair, STRUCTURED, data=DATA)
    assert theirs.status == 500
    assert (ours.status, ours.body["data"], ours.body["type"]) == (200, {"predictions": DATA}, RESULT_TYPE)


def test_a_media_type_may_have_parameters(pair: Any) -> None:
    """``; charset=utf-8`` changes nothing, of structured events as of plain JSON; KServe takes both for bytes."""
    theirs, ours = structured(pair, f"{STRUCTURED}; charset=UTF-8", time="2026-01-01T00:00:00Z", data=DATA)
    assert "bytes" in theirs.body
    assert ours.body["data"] == {"predictions": DATA}
    theirs, ours = pair.ask("POST", V1, orjson.dumps(DATA), {"content-type": "application/json; charset=utf-8"})
    assert "bytes" in theirs.body
    assert ours.body == {"predictions": DATA}


def test_base64_data_are_decoded(pair: Any) -> None:
    """``data_base64`` reaches the model as the bytes it stands for."""
    encoded = base64.b64encode(b"\xff\x00").decode()
    members = {"datacontenttype": "image/png", "data_base64": encoded, "time": "2026-01-01T00:00:00Z"}
    theirs, ours = structured(pair, STRUCTURED, **members)
    assert theirs.status == 500
    assert ours.body["data"] == {"bytes": 2}


def test_a_batch_is_answered_by_a_batch(pair: Any) -> None:
    """One answer an event, in order; KServe takes the array for bytes."""
    events = [{**ENVELOPE, "id": str(number), "data": {"instances": [number]}} for number in range(3)]
    theirs, ours = pair.ask("POST", V1, orjson.dumps(events), {"content-type": BATCH})
    assert "bytes" in theirs.body
    assert [event["data"]["predictions"]["instances"] for event in ours.body] == [[0], [1], [2]]
    assert [event["causationid"] for event in ours.body] == ["0", "1", "2"]


def test_an_event_needs_no_data(pair: Any) -> None:
    """A binary event without a body is one without data; KServe fails."""
    theirs, ours = binary(pair, b"")
    assert theirs.status == 500
    assert ours.status == 200


def test_the_answer_has_its_own_media_type(pair: Any) -> None:
    """An event of a picture is answered with what the answer is."""
    _, ours = binary(pair, b"\x89PNG", content_type="image/png")
    assert (ours.status, ours.body, ours.headers["content-type"]) == (200, {"bytes": 4}, "application/json")


def test_an_event_without_id_is_refused(pair: Any) -> None:
    """It claims to be an event and is none: 400; KServe takes it for plain JSON."""
    headers = {name: value for name, value in EVENT.items() if name != "ce-id"}
    theirs, ours = pair.ask("POST", V1, orjson.dumps(DATA), {**headers, **JSON})
    assert theirs.status == 200
    assert ours.status == 400


def test_events_on_v2(pair: Any) -> None:
    """Binary and structured events are answered on ``/infer`` too, with their media type; KServe fails on both."""
    theirs, ours = binary(pair, orjson.dumps(TENSORS), V2)
    assert theirs.status == 500
    assert (ours.status, ours.headers["content-type"]) == (200, "application/json")
    assert ours.body["outputs"][0]["data"] == [1.5]
    theirs, ours = structured(pair, STRUCTURED, V2, data=TENSORS)
    assert theirs.status == 422
    assert ours.body["data"]["outputs"][0]["data"] == [1.5]
    theirs, ours = pair.ask("POST", V2, orjson.dumps([{**ENVELOPE, "data": TENSORS}]), {"content-type": BATCH})
    assert theirs.status != 200
    assert ours.body[0]["data"]["outputs"][0]["data"] == [1.5]


def test_events_on_the_root(pair: Any) -> None:
    """A sink without ``uri``, as Knative resolves an InferenceService, is answered; KServe says 405."""
    theirs, ours = binary(pair, orjson.dumps(DATA), "/")
    assert theirs.status == 405
    assert (ours.status, ours.body) == (200, {"predictions": DATA})


def test_an_event_that_fails_is_answered_by_an_event(pair: Any) -> None:
    """The error has the request's lineage and a problem; KServe's is plain JSON."""
    theirs, ours = binary(pair, orjson.dumps({"raise": "input"}))
    assert (theirs.status, "ce-type" in theirs.headers) == (400, False)
    assert (ours.status, ours.headers["ce-causationid"], ours.body["status"]) == (400, "1", 400)


# --- the protocols --------------------------------------------------------------------------------------------------


def test_explain_keeps_the_callers_secrets(pair: Any) -> None:
    """Neither an answer nor a refusal echoes the request's headers."""
    secrets = {**JSON, "authorization": "Bearer secret", "cookie": "c=secret"}
    _, ours = pair.ask("POST", "/v1/models/twin:explain", b"{}", secrets)
    assert ours.status == 501
    assert "secret" not in f"{ours.headers}{ours.body}"


def test_a_request_without_id_is_answered(pair: Any) -> None:
    """``id`` is optional in v2; KServe's server cannot write the answer of a model that hands back what it got."""
    theirs, ours = pair.ask("POST", V2, orjson.dumps({"inputs": TENSORS["inputs"]}), JSON)
    assert theirs.status == 500
    assert (ours.status, ours.body["id"]) == (200, "")


def test_fractions_are_no_whole_numbers(pair: Any) -> None:
    """A value that is not of its tensor's type is refused; KServe cuts it off and computes on."""
    tensor = {"name": "x", "datatype": "INT32", "shape": [1], "data": [1.75]}
    theirs, ours = pair.ask("POST", V2, orjson.dumps({"id": "q", "inputs": [tensor]}), JSON)
    assert theirs.body["outputs"][0]["data"] == [1]
    assert ours.status == 400
    assert "'x'" in ours.body["error"]


def test_a_shape_that_does_not_fit_is_the_callers_fault(pair: Any) -> None:
    """400, so that nobody retries what can never work; KServe says 500."""
    tensor = {"name": "x", "datatype": "INT32", "shape": [2], "data": [1]}
    theirs, ours = pair.ask("POST", V2, orjson.dumps({"id": "q", "inputs": [tensor]}), JSON)
    assert (theirs.status, ours.status) == (500, 400)


def test_the_repository_has_an_index(pair: Any) -> None:
    """KServe has none."""
    theirs, ours = pair.ask("POST", "/v2/repository/index", b"{}", JSON)
    assert theirs.status == 404
    assert ours.body == [{"name": "twin", "state": "READY", "reason": ""}]


def test_a_model_that_is_not_ready_says_so_over_grpc(pair: Any) -> None:
    """UNAVAILABLE, with its words; KServe answers UNKNOWN and the name of an attribute."""
    tensor = {"name": "unready", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1]}}
    theirs, ours = pair.call(messages.ModelInferRequest(model_name="twin", inputs=[tensor]))
    assert theirs.status == UNKNOWN
    assert ours.status == UNAVAILABLE
    assert "not ready" in ours.body


def test_the_repository_over_grpc(pair: Any) -> None:
    """Loading a model that is loaded says so; KServe answers INTERNAL."""
    request = messages.RepositoryModelLoadRequest(model_name="twin")
    theirs, ours = pair.call(request, "RepositoryModelLoad")
    assert theirs.status == INTERNAL
    assert (ours.status, ours.body.isLoaded) == (200, True)


def test_a_client_may_ask_for_a_method_that_the_model_lacks(pair: Any) -> None:
    """UNIMPLEMENTED over gRPC; KServe's own handler crashes on it."""
    tensor = {"name": "lacking", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1]}}
    theirs, ours = pair.call(messages.ModelInferRequest(model_name="twin", inputs=[tensor]))
    assert (theirs.status, ours.status) == (UNKNOWN, 12)


def test_uvloop_is_used() -> None:
    """The loop that serves is uvloop's where it is installed; KServe's flag for it has no effect with one worker."""
    code = (
        "import asyncio\nfrom headrace.serving import server\n"
        "async def told(): print(type(asyncio.get_running_loop()).__module__)\n"
        "server._run(told())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().startswith("uvloop")
