"""Open Inference Protocol messages, JSON and binary."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headrace.errors import InvalidInputError
from headrace.models import datatypes, tensors
from headrace.models.kserve_api import InferInput, InferOutput, InferRequest, InferResponse

_SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
_ARRAYS = st.sampled_from(list(datatypes.NUMPY.values())).flatmap(lambda dtype: arrays.arrays(dtype, _SHAPES))


def loaded(tensor: dict[str, Any], raw: bytes = b"") -> Any:
    head = orjson.dumps({"inputs": [tensor]})
    request = tensors.load_request(head + raw, "m", str(len(head)))
    return request.inputs[0]


@given(st.lists(_ARRAYS, min_size=1, max_size=3))
def test_binary_tensors_return_as_they_went(given_arrays: list[np.ndarray[Any, Any]]) -> None:
    """Every type and shape, empty ones and scalars too, comes through a request bit for bit."""
    request = tensors.new_request("m", {f"t{at}": array for at, array in enumerate(given_arrays)}, request_id="7")
    headers, body = tensors.dump_request(request)
    back = tensors.load_request(body, "m", headers[tensors.HEADER_LENGTH])
    assert back.id == "7"
    for sent, tensor in zip(given_arrays, back.inputs, strict=True):
        array = tensor.as_numpy()
        assert (array.dtype, array.shape, array.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_bytes_return_as_they_went(items: list[bytes]) -> None:
    """BYTES elements are length-prefixed, so that zero bytes and empty elements survive."""
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    headers, body = tensors.dump_request(tensors.new_request("m", {"b": array}))
    assert tensors.load_request(body, "m", headers[tensors.HEADER_LENGTH]).inputs[0].as_numpy().tolist() == items


def test_kserve_writes_what_we_read_and_reads_what_we_write() -> None:
    """The peer is kserve's own binary form: its request is read here, and ours by it."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    theirs = InferInput("x", [2, 3], "FP32")
    theirs.set_data_from_numpy(array)
    body, length = InferRequest("m", [theirs]).to_rest()
    assert np.array_equal(tensors.load_request(body, "m", str(length)).inputs[0].as_numpy(), array)
    headers, ours = tensors.dump_request(tensors.new_request("m", {"x": array}))
    back = InferRequest.from_bytes(ours, int(headers[tensors.HEADER_LENGTH]), "m")
    assert np.array_equal(back.inputs[0].as_numpy(), array)


def test_a_request_may_have_no_inputs() -> None:
    """A model may be asked without a tensor: the message is plain JSON."""
    headers, body = tensors.dump_request(tensors.new_request("m", {}))
    assert tensors.load_request(body, "m", headers.get(tensors.HEADER_LENGTH)).inputs == []


def test_a_raw_tensor_is_not_copied() -> None:
    """The array is a view of the received bytes; one of a bytearray can be written to."""
    headers, body = tensors.dump_request(tensors.new_request("m", {"x": np.ones(4, dtype=np.float32)}))
    received = bytearray(body)
    array = tensors.load_request(received, "m", headers[tensors.HEADER_LENGTH]).inputs[0].as_numpy()
    assert array.base is not None
    assert array.flags.writeable
    received[-4:] = struct.pack("<f", 9.0)
    assert array[3] == 9.0


def test_the_list_is_there_for_models_that_read_it() -> None:
    """``data`` of a raw tensor is the flat list that kserve gives, text for BYTES."""
    numbers = loaded(
        {"name": "x", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}}, b"\1\0\0\0\2\0\0\0"
    )
    assert numbers.data == [1, 2]
    assert numbers.as_numpy().tolist() == [1, 2]
    text = loaded(
        {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}, b"\2\0\0\0ok"
    )
    assert text.data == ["ok"]
    numbers.data = [3, 4]
    assert numbers.as_numpy().tolist() == [3, 4]


@pytest.mark.parametrize(
    ("datatype", "data", "shape", "wanted"),
    [
        ("FP32", [[1, 2.5], [3, 4]], [2, 2], [[1.0, 2.5], [3.0, 4.0]]),
        ("FP32", [1, 2, 3, 4], [2, 2], [[1.0, 2.0], [3.0, 4.0]]),
        ("UINT64", [2**64 - 1], [1], [2**64 - 1]),
        ("INT8", [-128, 127], [2], [-128, 127]),
        ("BOOL", [True, False], [2], [True, False]),
        ("BYTES", [["a", "é"]], [1, 2], [["a", "é"]]),
        ("fp64", [], [0, 3], []),
    ],
)
def test_json_tensors(datatype: str, data: Any, shape: list[int], wanted: Any) -> None:
    """Nested as the shape or flat, a JSON tensor is the array that it says."""
    assert loaded({"name": "x", "shape": shape, "datatype": datatype, "data": data}).as_numpy().tolist() == wanted


@pytest.mark.parametrize(
    ("tensor", "raw", "told"),
    [
        ({"shape": [2], "datatype": "FP32", "data": [1]}, b"", "holds 2 values, 'data' has 1"),
        ({"shape": [2], "datatype": "FP32", "data": [[1], [2, 3]]}, b"", "ragged"),
        ({"shape": [1], "datatype": "FP32", "data": ["1"]}, b"", "no FP32"),
        ({"shape": [1], "datatype": "FP32", "data": [None]}, b"", "no FP32"),
        ({"shape": [1], "datatype": "INT32", "data": [1.5]}, b"", "no INT32"),
        ({"shape": [1], "datatype": "UINT8", "data": [256]}, b"", "range of UINT8"),
        ({"shape": [1], "datatype": "UINT8", "data": [-1]}, b"", "range of UINT8"),
        ({"shape": [1], "datatype": "BOOL", "data": [1]}, b"", "no BOOL"),
        ({"shape": [1], "datatype": "BYTES", "data": [1]}, b"", "are strings"),
        ({"shape": [1], "datatype": "FP32", "data": 1}, b"", "must be a list"),
        ({"shape": [1], "datatype": "FP16", "data": [1]}, b"", "no JSON form"),
        ({"shape": [1], "datatype": "BF16", "parameters": {"binary_data_size": 2}}, b"12", "'BF16' is not supported"),
        ({"shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 7}}, b"1234567", "is 8 bytes, got 7"),
        ({"shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}, b"1234", "only 4 bytes are left"),
        ({"shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}, b"12345", "1 bytes follow"),
        ({"shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": -4}}, b"", "needs either"),
        ({"shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": True}}, b"", "needs either"),
        ({"shape": [1], "datatype": "FP32"}, b"", "needs either"),
        ({"shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}, b"\2\0\0\0a", "runs past the end"),
        ({"shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 2}}, b"\2\0", "runs past the end"),
        ({"shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 4}}, b"\0\0\0\0", "holds 2 elements"),
        ({"shape": [-1], "datatype": "FP32", "data": []}, b"", "none negative"),
        ({"shape": [True], "datatype": "FP32", "data": [1]}, b"", "none negative"),
        ({"shape": [2**62], "datatype": "FP32", "data": []}, b"", "'data' has 0"),
        ({"shape": [0, 2**62, 2**62], "datatype": "FP32", "data": []}, b"", "no array has the shape"),
        ({"shape": [1] * 99, "datatype": "FP32", "parameters": {"binary_data_size": 4}}, b"1234", "no array has"),
        ({"datatype": "FP32", "data": [1]}, b"", "'shape'"),
        ({"shape": [1], "data": [1]}, b"", "'datatype' is missing"),
        ({"shape": [1], "datatype": "FP32", "data": [1], "parameters": 3}, b"", "'parameters' must be an object"),
    ],
)
def test_a_tensor_that_is_none(tensor: dict[str, Any], raw: bytes, told: str) -> None:
    """The refusal names the tensor and what is wrong with it."""
    with pytest.raises(InvalidInputError, match=told) as caught:
        loaded({"name": "image", **tensor}, raw)
    assert "image" in str(caught.value) or "follow" in told or "parameters" in told


@pytest.mark.parametrize(
    ("body", "length"),
    [(b"{", None), (b"[]", None), (b"{}", None), (b'{"inputs": {}}', None), (b"{}", "9"), (b"{}", "-1"), (b"{}", "x")],
)
def test_a_request_that_is_none(body: bytes, length: str | None) -> None:
    """No JSON, no list of inputs, or a length outside the body is invalid input."""
    with pytest.raises(InvalidInputError):
        tensors.load_request(body, "m", length)


def response() -> InferResponse:
    return tensors.new_response("m", {"a": np.array([1], np.int64), "b": np.array([2.0], np.float32)}, response_id="r")


def wanting(**members: Any) -> InferRequest:
    return tensors.load_request(orjson.dumps({"id": "q", "inputs": [], **members}), "m", None)


def test_outputs_come_in_the_form_that_was_asked_for() -> None:
    """``binary_data`` of an output is stronger than ``binary_data_output`` of all; unasked outputs are left out."""
    headers, body = tensors.dump_response(response(), wanting())
    assert (headers, orjson.loads(body)["id"]) == ({"content-type": "application/json"}, "r")
    headers, body = tensors.dump_response(response(), wanting(parameters={"binary_data_output": True}))
    assert [o.name for o in tensors.load_response(body, headers[tensors.HEADER_LENGTH]).outputs] == ["a", "b"]
    chosen = [{"name": "b", "parameters": {"binary_data": True}}]
    headers, body = tensors.dump_response(response(), wanting(outputs=chosen))
    assert body.endswith(struct.pack("<f", 2.0))
    assert [o["name"] for o in orjson.loads(body[: int(headers[tensors.HEADER_LENGTH])])["outputs"]] == ["b"]
    with pytest.raises(InvalidInputError, match="Unexpected inference output 'c'"):
        tensors.dump_response(response(), wanting(outputs=[{"name": "c"}]))


def test_outputs_that_kserve_users_make() -> None:
    """Lists, arrays and raw data in ``InferOutput`` are all written; a wrong shape is refused, not sent."""
    listed = InferOutput("a", [2], "FP32", data=[1, 2])
    stored = InferOutput("b", [1, 2], "INT32", data=np.array([3, 4]))
    raw = InferOutput("c", [1], "BYTES")
    raw.set_data_from_numpy(np.array([b"x"], dtype=np.object_))
    _, body = tensors.dump_response(InferResponse("1", "m", [listed, stored, raw]), wanting())
    assert [o["data"] for o in orjson.loads(body)["outputs"]] == [[1.0, 2.0], [3, 4], ["x"]]
    with pytest.raises(InvalidInputError, match="'a'"):
        tensors.dump_response(InferResponse("1", "m", [InferOutput("a", [3], "FP32", data=[1])]), wanting())


@pytest.mark.parametrize("array", [np.array([1], np.float16), np.array([b"\xff"], np.object_)])
def test_what_json_cannot_hold(array: np.ndarray[Any, Any]) -> None:
    """FP16 and BYTES that are no text say that they go as binary data only; and so they do."""
    answer = tensors.new_response("m", {"a": array})
    with pytest.raises(InvalidInputError, match="ask for binary data"):
        tensors.dump_response(answer, wanting())
    headers, body = tensors.dump_response(answer, wanting(parameters={"binary_data_output": True}))
    back = tensors.load_response(body, headers[tensors.HEADER_LENGTH]).outputs[0].as_numpy()
    assert back.tolist() == array.tolist()
