"""Whatever is asked, good or bad: the status and body of KServe's own server.

Where the two differ on purpose, the rule that allows it stands in ``allowed``, and the case has its test in
``test_better.py``.
"""

from __future__ import annotations

import base64
import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.models import datatypes, rpc_tensors, tensors
from headrace.models.kserve_api import RequestedOutput, messages

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
V1 = "/v1/models/twin:predict"
V2 = "/v2/models/twin/infer"
JSON = {"content-type": "application/json"}
SERVER_ERROR, BAD_REQUEST = 500, 400
INTERNAL, UNKNOWN, INVALID = 13, 2, 3


def same(theirs: Any, ours: Any) -> None:
    assert (ours.status, ours.body) == (theirs.status, theirs.body)


def same_or_refused(theirs: Any, ours: Any) -> None:
    """Allowed: what makes the model stumble under KServe (500) is the caller's fault, and told so (400)."""
    if theirs.status == SERVER_ERROR and ours.status == BAD_REQUEST:
        return
    same(theirs, ours)


@EXAMPLES
@given(st.lists(VALUES, max_size=4), st.sampled_from(["application/json", "application/octet-stream", None]))
def test_v1(pair: Any, instances: list[Any], media_type: str | None) -> None:
    """Any JSON, under every media type that KServe reads as JSON."""
    headers = {"content-type": media_type} if media_type else {}
    same(*pair.ask("POST", V1, orjson.dumps({"instances": instances}), headers))


@EXAMPLES
@given(VALUES)
def test_v1_of_any_shape(pair: Any, value: Any) -> None:
    """The body need be no object, and ``instances`` no list."""
    same(*pair.ask("POST", V1, orjson.dumps({"instances": value}), JSON))
    same(*pair.ask("POST", V1, orjson.dumps(value), JSON))


@EXAMPLES
@given(st.binary(max_size=20), st.sampled_from(["application/json", "application/octet-stream", "image/png", None]))
@example(b"", "application/json")
@example(b"", "image/png")
@example(b"[1", None)
def test_v1_of_any_bytes(pair: Any, body: bytes, media_type: str | None) -> None:
    """What is no JSON is refused, or given to the model as bytes, by the media type."""
    same(*pair.ask("POST", V1, body, {"content-type": media_type} if media_type else {}))


@pytest.mark.parametrize("raised", ["input", "inference", "lacking", "missing", "unready", "crash"])
@pytest.mark.parametrize("path", [V1, V2])
def test_what_the_model_raises(pair: Any, raised: str, path: str) -> None:
    """Each of KServe's exceptions has KServe's status and words, on both protocols."""
    tensor = {"name": raised, "datatype": "FP32", "shape": [1], "data": [1]}
    same(*pair.ask("POST", path, orjson.dumps({"raise": raised, "inputs": [tensor]}), JSON))


@pytest.mark.parametrize("form", ["text", "bytes", "json"])
def test_what_the_model_answers(pair: Any, form: str) -> None:
    """Text and bytes are the body as they are."""
    same(*pair.ask("POST", V1, orjson.dumps({"answer": form}), JSON))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/models", "/v1/models/", "/v1/models/twin", "/v1/models/other", "/v1/models/twin:predict",
        "/v1/models/other:predict", "/v1/models/twin:nothing", "/v1/models/a%2Fb", "/v1/models/twin/infer", "/v1",
        "/v2/", "/v2/health", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/twin",
        "/v2/models/twin/", "/v2/models/twin/ready", "/v2/models/other", "/v2/models/other/ready",
        "/v2/models/other/infer", "/v2/models/twin/infer", "/v2/models/twin/versions/1",
        "/v2/models/twin/versions/1/ready", "/v2/repository/models/twin/load", "/v2/repository/models/other/load",
        "/v2/repository/models/other/unload", "/nothing", "/nothing/", "//v2", "/%76%32/models", "/v2/models?x=1",
    ],
)  # fmt: skip
def test_every_path_and_method(pair: Any, method: str, path: str) -> None:
    """Status and body of what is there, of what is not, and of what is there for another method."""
    theirs, ours = pair.ask(method, path, b"", JSON if method == "POST" else {})
    same(theirs, ours)
    assert ours.location.partition("twin.example")[2] == theirs.location.partition("twin.example")[2]


NUMBERS = sorted(name for name in datatypes.NUMPY if name != "FP16")


@st.composite
def arrays(draw: st.DrawFn, kinds: list[str]) -> tuple[str, Any]:
    """A data type and an array of it."""
    kind = draw(st.sampled_from(kinds))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3))
    if kind == "BYTES":
        texts = draw(st.lists(st.text(max_size=4), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        array = np.empty(len(texts), dtype=np.object_)
        array[:] = [text.encode() for text in texts]
        return kind, array.reshape(shape)
    dtype = datatypes.NUMPY[kind]
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    return kind, draw(hnp.arrays(dtype, shape, elements=elements or None))


PARAMETERS = st.none() | st.dictionaries(
    st.sampled_from(["a", "b"]), st.booleans() | st.integers(0, 9) | st.text(max_size=3)
)


@st.composite
def json_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A v2 request in JSON; tensors flat or nested."""
    inputs = []
    for number in range(draw(st.integers(1, 3))):
        kind, array = draw(arrays([*NUMBERS, "BYTES"]))
        if kind == "BYTES":
            array = np.vectorize(bytes.decode, otypes=[object])(array)
        nested = draw(st.booleans()) and kind != "BYTES"
        tensor = {
            "name": f"x{number}",
            "datatype": kind if draw(st.booleans()) else kind.lower(),
            "shape": list(array.shape),
            "data": array.tolist() if nested else array.ravel().tolist(),
        }
        if (parameters := draw(PARAMETERS)) is not None:
            tensor["parameters"] = parameters
        inputs.append(tensor)
    request: dict[str, Any] = {"inputs": inputs, "id": draw(st.text(max_size=5))}
    if (parameters := draw(PARAMETERS)) is not None:
        request["parameters"] = parameters
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from([*(each["name"] for each in inputs), "none"]), min_size=1, max_size=2))
        request["outputs"] = [{"name": name} for name in names]
    return request


@EXAMPLES
@given(json_requests(), st.sampled_from(["application/json", "application/json; charset=utf-8", "application/x+json"]))
def test_v2_json(pair: Any, request_: dict[str, Any], media_type: str) -> None:
    """Every data type, flat or nested, with ids, parameters and outputs to choose."""
    same(*pair.ask("POST", V2, orjson.dumps(request_), {"content-type": media_type}))


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """A v2 request with one member taken away, or replaced by something else."""
    request = copy.deepcopy(draw(json_requests()))
    place: Any = request
    for key in draw(
        st.sampled_from([(), ("inputs",), ("inputs", 0), ("inputs", 0, "data"), ("inputs", 0, "shape"), ("outputs", 0)])
    ):
        if isinstance(place, dict) and key not in place:
            break
        place = place[key]
    keys = list(range(len(place))) if isinstance(place, list) else list(place)
    if keys:
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()):
            del place[key]
        else:
            place[key] = draw(VALUES)
    return request


def well_typed(request: Any) -> bool:
    """Whether every tensor's values are of the type that it says."""
    try:
        tensors.load_request(orjson.dumps(request), "twin", None)
    except Exception:  # noqa: BLE001  # whatever it is, it is not well typed
        return False
    return True


@EXAMPLES
@given(mutations())
@example(
    {"inputs": [{"name": "x", "shape": [1], "datatype": "INT32", "data": [1]}], "parameters": {"": None}, "id": "1"}
)
def test_v2_that_is_wrong(pair: Any, request_: dict[str, Any]) -> None:
    """A member that is missing or of another type is refused in KServe's words.

    Allowed: values that are not of their tensor's type, which KServe casts or lets the model stumble over, are
    refused. A request without an id is answered.
    """
    theirs, ours = pair.ask("POST", V2, orjson.dumps(request_), JSON)
    if ours.status == BAD_REQUEST and theirs.status in (200, BAD_REQUEST, SERVER_ERROR) and not well_typed(request_):
        return
    if request_.get("id") is None and theirs.status == SERVER_ERROR and ours.status == 200:
        return  # KServe cannot answer a request that has no id
    same(theirs, ours)


@EXAMPLES
@given(st.binary(max_size=20), st.sampled_from(["application/json", "application/octet-stream", "text/plain", None]))
@example(b"", "application/json")
@example(b"null", "application/json")
@example(b'{"inputs": [', "application/json")
def test_v2_of_any_bytes(pair: Any, body: bytes, media_type: str | None) -> None:
    """What is no v2 request at all."""
    same(*pair.ask("POST", V2, body, {"content-type": media_type} if media_type else {}))


@st.composite
def binary_requests(draw: st.DrawFn) -> Any:
    """A v2 request whose tensors are raw bytes."""
    inputs = {f"x{number}": draw(arrays([*NUMBERS, "FP16", "BYTES"]))[1] for number in range(draw(st.integers(1, 2)))}
    request = tensors.new_request(
        "twin", inputs, request_id=draw(st.text(min_size=1, max_size=5)), binary_output=draw(st.booleans())
    )
    if any(array.dtype == np.float16 for array in inputs.values()):
        request.parameters = {"binary_data_output": True}
    elif draw(st.booleans()):
        binary = draw(st.booleans())
        request.request_outputs = [RequestedOutput(name, {"binary_data": binary}) for name in inputs]
    return request


def read(reply: Any) -> Any:
    """The JSON and the raw bytes of a binary body, in a form to compare."""
    if not isinstance(reply.body, bytes):
        return reply.body
    text, end = reply.body.decode("latin-1"), 0
    while True:
        end = text.index("}", end) + 1
        try:
            return orjson.loads(reply.body[:end]), reply.body[end:]
        except orjson.JSONDecodeError:
            continue


@EXAMPLES
@given(binary_requests())
def test_v2_binary(pair: Any, request_: Any) -> None:
    """Raw tensors in, and out where they are asked for: the same JSON before the same bytes."""
    headers, body = tensors.dump_request(request_)
    theirs, ours = pair.ask("POST", V2, body, headers)
    assert (ours.status, read(ours)) == (theirs.status, read(theirs))


@EXAMPLES
@given(binary_requests(), st.integers(-3, 3), st.integers(-3, 3))
def test_v2_binary_that_is_wrong(pair: Any, request_: Any, less: int, shift: int) -> None:
    """Bytes that are missing or too many, and a header that lies. Allowed: 400 where KServe crashes or guesses."""
    headers, body = tensors.dump_request(request_)
    length = int(headers[tensors.HEADER_LENGTH]) + shift
    body = body[:less] if less < 0 else body + b"\0" * less
    theirs, ours = pair.ask("POST", V2, body, {**headers, tensors.HEADER_LENGTH: str(length)})
    if (less or shift) and ours.status == BAD_REQUEST:
        assert theirs.status in (200, BAD_REQUEST, SERVER_ERROR)
        return
    assert (ours.status, read(ours)) == (theirs.status, read(theirs))


@st.composite
def rpc_requests(draw: st.DrawFn) -> Any:
    """A ``ModelInferRequest``, raw or with typed contents."""
    raw = draw(st.booleans())
    message = messages.ModelInferRequest(model_name="twin", id=draw(st.text(max_size=5)))
    for number in range(draw(st.integers(1, 3))):
        kind, array = draw(arrays([*NUMBERS, "BYTES", *(["FP16"] if raw else [])]))
        tensor = message.inputs.add(name=f"x{number}", datatype=kind, shape=list(array.shape))
        if raw:
            message.raw_input_contents.append(bytes(datatypes.to_raw(array)))
        else:
            getattr(tensor.contents, rpc_tensors.FIELDS[kind]).extend(array.ravel().tolist())
    return message


@EXAMPLES
@given(rpc_requests())
def test_grpc(pair: Any, message: Any) -> None:
    """The same message back, raw or typed."""
    same(*pair.call(message))


def _shape(message: Any) -> None:
    message.inputs[0].shape.append(2)


def _type(message: Any) -> None:
    message.inputs[0].datatype = "FP7"


def _raw(message: Any) -> None:
    message.raw_input_contents.append(b"\0\0\0")


def _both(message: Any) -> None:
    message.inputs[0].contents.fp32_contents.append(1)


def _none(message: Any) -> None:
    message.ClearField("raw_input_contents")
    message.inputs[0].ClearField("contents")


def _model(message: Any) -> None:
    message.model_name = "other"


def _crash(message: Any) -> None:
    message.inputs[0].name = "crash"


def _input(message: Any) -> None:
    message.inputs[0].name = "input"


def _inference(message: Any) -> None:
    message.inputs[0].name = "inference"


def _missing(message: Any) -> None:
    message.inputs[0].name = "missing"


@EXAMPLES
@given(
    rpc_requests(), st.sampled_from([_shape, _type, _raw, _both, _none, _model, _crash, _input, _inference, _missing])
)
def test_grpc_that_is_wrong(pair: Any, message: Any, change: Callable[[Any], None]) -> None:
    """The same status and words. Allowed: INVALID_ARGUMENT naming the tensor where KServe lets the model crash."""
    change(message)
    theirs, ours = pair.call(message)
    if ours.status == INVALID and theirs.status in (INTERNAL, UNKNOWN):
        assert "Tensor 'x0'" in ours.body or "number of inputs" in ours.body or "contents field" in ours.body
        return
    if change is _type and theirs.status == ours.status == INVALID:
        return  # "invalid datatype None in the input": ours names the tensor
    same(theirs, ours)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ServerLive", messages.ServerLiveRequest()),
        ("ServerReady", messages.ServerReadyRequest()),
        ("ModelReady", messages.ModelReadyRequest(name="twin")),
        ("ModelReady", messages.ModelReadyRequest(name="other")),
        ("ModelMetadata", messages.ModelMetadataRequest(name="twin")),
        ("ModelMetadata", messages.ModelMetadataRequest(name="other")),
    ],
)
def test_grpc_health_and_metadata(pair: Any, method: str, message: Any) -> None:
    """The same answer."""
    same(*pair.call(message, method))


def test_base64_is_not_touched(pair: Any) -> None:
    """KServe's ``{"b64": ...}`` instances reach the model as they are."""
    value = {"instances": [{"b64": base64.b64encode(b"\xff").decode()}]}
    same(*pair.ask("POST", V1, orjson.dumps(value), JSON))
