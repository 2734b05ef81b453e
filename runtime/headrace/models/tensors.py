"""Open Inference Protocol requests and responses over REST, with the binary tensor data extension both ways.

A message is a JSON object; tensors that say ``binary_data_size`` follow it as raw bytes, in order, and the header
``Inference-Header-Content-Length`` tells where the JSON ends. Raw tensors become numpy views of the received bytes:
kserve itself decodes them to Python lists, value by value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from headrace.errors import InvalidInputError
from headrace.models import datatypes
from headrace.models.array_tensors import TensorInput, TensorOutput
from headrace.models.kserve_api import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

HEADER_LENGTH = "inference-header-content-length"
JSON = "application/json"
OCTETS = "application/octet-stream"


class TensorRequest(InferRequest):
    """A request made by Headrace."""

    v1: bool = False
    """Whether it was made of a v1 request, so that its answer is to be a v1 one."""


class TensorResponse(InferResponse):
    """A response made by Headrace."""

    v1: bool = False
    """Whether a v1 request asked for it."""


def new_request(
    model_name: str,
    inputs: Mapping[str, NDArray[Any]],
    *,
    request_id: str | None = None,
    binary_output: bool = True,
    v1: bool = False,
) -> TensorRequest:
    """A request of these named arrays.

    Args:
        model_name: The model that is asked.
        inputs: The tensors by name, in order.
        request_id: Comes back with the response; none where it is None.
        binary_output: Whether the answer's tensors are to come as raw bytes.
        v1: Whether it is made of a v1 request.
    """
    tensors = [TensorInput(name, array) for name, array in inputs.items()]
    parameters = {"binary_data_output": True} if binary_output else None
    request = TensorRequest(model_name, tensors, request_id=request_id, parameters=parameters)
    request.v1 = v1
    return request


def new_response(
    model_name: str,
    outputs: Mapping[str, NDArray[Any]],
    *,
    response_id: str | None = None,
    binary: bool = False,
    v1: bool = False,
) -> TensorResponse:
    """A response of these named arrays.

    Args:
        model_name: The model that answers.
        outputs: The tensors by name, in order.
        response_id: The request's id.
        binary: Whether KServe's own server is to write raw bytes; Headrace's asks the request.
        v1: Whether a v1 request asked for it.
    """
    tensors = [TensorOutput(name, array) for name, array in outputs.items()]
    # KServe's own server refuses to write a response that has no id.
    response = TensorResponse(response_id or "", model_name, tensors, use_binary_outputs=binary)
    response.v1 = v1
    return response


def load_request(body: bytes | bytearray | memoryview, model_name: str, header_length: str | None) -> InferRequest:
    """The request in a REST body.

    Args:
        body: JSON, and the raw tensors after it. A bytearray gives arrays that can be written to.
        model_name: The model in the path.
        header_length: The header ``Inference-Header-Content-Length``; None means that all of the body is JSON.

    Raises:
        InvalidInputError: naming the tensor and what is wrong with it.
    """
    head, raw = _parted(body, header_length)
    tensors = _tensors(head, raw, "inputs", TensorInput)
    wanted = head.get("outputs")
    return InferRequest(
        model_name,
        tensors,
        request_id=_text(head, "id"),
        parameters=_parameters(head),
        request_outputs=None if wanted is None else [_requested(item) for item in _array(head, "outputs")],
    )


def load_response(body: bytes | bytearray | memoryview, header_length: str | None) -> InferResponse:
    """The response in a REST body; the counterpart of :func:`load_request`.

    Raises:
        InvalidInputError: naming the tensor and what is wrong with it.
    """
    head, raw = _parted(body, header_length)
    tensors = _tensors(head, raw, "outputs", TensorOutput)
    return InferResponse(
        _text(head, "id"),
        _text(head, "model_name"),
        tensors,
        model_version=_text(head, "model_version"),
        parameters=_parameters(head),
    )


def dump_request(request: InferRequest) -> tuple[dict[str, str], bytes]:
    """Headers and body that carry every input of ``request`` as raw bytes."""
    parts = [_dump_tensor(tensor, binary=True) for tensor in request.inputs]
    head: dict[str, Any] = {"inputs": [part[0] for part in parts]}
    if request.id:
        head["id"] = request.id
    if request.parameters:
        head["parameters"] = plain_parameters(request.parameters)
    if request.request_outputs:
        head["outputs"] = [_requested_object(output) for output in request.request_outputs]
    return _joined(head, [part[1] for part in parts])


def dump_response(response: InferResponse, request: InferRequest) -> tuple[dict[str, str], bytes]:
    """Headers and body of ``response``, in the form that ``request`` asked for.

    An output is raw bytes where the request says ``binary_data`` for it or ``binary_data_output`` for all, and JSON
    otherwise. Outputs that were not asked for are left out (protocol, inference request, ``outputs``).

    Raises:
        InvalidInputError: an output was asked for that the model does not give, or JSON for one that has no JSON form.
    """
    parts = [_dump_tensor(tensor, binary=binary) for tensor, binary in _chosen(response, request)]
    head: dict[str, Any] = {
        "model_name": response.model_name or request.model_name,
        "model_version": response.model_version,
        "id": response.id or request.id or "",
        "outputs": [part[0] for part in parts],
    }
    if parameters := plain_parameters(response.parameters):
        head["parameters"] = parameters
    if all(part[1] is None for part in parts):
        # As KServe writes JSON alone: with every member, null where there is none.
        head.setdefault("parameters", None)
        head["outputs"] = [{"parameters": None, **part[0]} for part in parts]
    return _joined(head, [part[1] for part in parts])


def plain_parameters(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Parameters as JSON has them, where they may be those of a gRPC message; None where there are none."""
    if not parameters:
        return None
    return {key: _plain_parameter(value) for key, value in parameters.items()}


def _plain_parameter(value: Any) -> Any:
    # InferParameter of the gRPC messages: one of bool_param, int64_param, string_param.
    chosen = getattr(value, "WhichOneof", None)
    return value if chosen is None else getattr(value, chosen("parameter_choice") or "string_param")


def _chosen(response: InferResponse, request: InferRequest) -> list[tuple[InferOutput, bool]]:
    default = bool((request.parameters or {}).get("binary_data_output", False))
    if not request.request_outputs:
        return [(tensor, default) for tensor in response.outputs]
    chosen = []
    for wanted in request.request_outputs:
        tensor = response.get_output_by_name(wanted.name)
        if tensor is None:
            raise InvalidInputError(f"Unexpected inference output '{wanted.name}' for model '{request.model_name}'")
        chosen.append((tensor, default if wanted.binary_data is None else bool(wanted.binary_data)))
    return chosen


def _dump_tensor(tensor: InferInput | InferOutput, *, binary: bool) -> tuple[dict[str, Any], bytes | memoryview | None]:
    array = array_of(tensor)
    head: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype}
    parameters = plain_parameters(tensor.parameters) or {}
    parameters.pop("binary_data_size", None)
    raw: bytes | memoryview | None = None
    if binary:
        raw = datatypes.to_raw(array)
        parameters["binary_data_size"] = len(raw)
    else:
        head["data"] = datatypes.to_json(tensor.name, array)
    if parameters:
        head["parameters"] = parameters
    return head, raw


def array_of(tensor: InferInput | InferOutput) -> NDArray[Any]:
    """The tensor's values in its own type and shape, without a copy where they stand so already.

    Raises:
        InvalidInputError: its data is not what it says.
    """
    try:
        # kserve converts data that stands as a list or raw; a stored array it would copy first.
        stored = tensor._data  # noqa: SLF001  # kserve's public views copy
        array: NDArray[Any] = stored if isinstance(stored, np.ndarray) else tensor.as_numpy()
        if array.dtype.kind not in "OSU" and tensor.datatype != datatypes.BYTES:
            array = array.astype(datatypes.NUMPY[tensor.datatype], copy=False)
        shaped: NDArray[Any] = array.reshape(tensor.shape)
    except (ValueError, TypeError, KeyError) as fault:
        raise InvalidInputError(
            f"Tensor '{tensor.name}': its data is no {tensor.datatype} of shape {tensor.shape}: {fault}"
        ) from fault
    return shaped


def _joined(head: dict[str, Any], raws: Sequence[bytes | memoryview | None]) -> tuple[dict[str, str], bytes]:
    text = orjson.dumps(head)
    if all(raw is None for raw in raws):
        return {"content-type": JSON}, text
    body = b"".join([text, *(raw for raw in raws if raw is not None)])
    return {"content-type": OCTETS, HEADER_LENGTH: str(len(text))}, body


def _parted(body: bytes | bytearray | memoryview, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(body)
    length = len(view) if header_length is None else _length(header_length, len(view))
    try:
        head = orjson.loads(view[:length])
    except orjson.JSONDecodeError as fault:
        raise InvalidInputError(f"The request is not JSON: {fault}") from fault
    if not isinstance(head, dict):
        raise InvalidInputError("The request must be a JSON object")
    return head, view[length:]


def _length(text: str, available: int) -> int:
    length = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= length <= available:
        raise InvalidInputError(f"Inference-Header-Content-Length {text!r} is no length within {available} bytes")
    return length


def _tensors(head: dict[str, Any], raw: memoryview, member: str, build: Callable[..., Any]) -> list[Any]:
    tensors = []
    at = 0
    for item in _array(head, member):
        array, at = _load_tensor(item, raw, at)
        tensors.append(build(item["name"], array, _parameters(item)))
    if at != len(raw):
        raise InvalidInputError(f"{len(raw) - at} bytes follow the JSON that no tensor's 'binary_data_size' claims")
    return tensors


def _load_tensor(item: object, raw: memoryview, at: int) -> tuple[NDArray[Any], int]:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise InvalidInputError("A tensor must be an object with a 'name'")
    name, shape, datatype = item["name"], item.get("shape"), item.get("datatype")
    if not isinstance(datatype, str):
        raise InvalidInputError(f"Tensor '{name}': 'datatype' is missing")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise InvalidInputError(f"Tensor '{name}': 'shape' must be a list of whole numbers, none negative")
    size = (_parameters(item) or {}).get("binary_data_size")
    if "data" in item and size is None:
        return datatypes.from_json(name, datatype.upper(), shape, item["data"]), at
    if "data" in item or type(size) is not int or size < 0:
        raise InvalidInputError(f"Tensor '{name}': needs either 'data' or the parameter 'binary_data_size'")
    if at + size > len(raw):
        raise InvalidInputError(f"Tensor '{name}': 'binary_data_size' is {size}, only {len(raw) - at} bytes are left")
    return datatypes.from_raw(name, datatype.upper(), shape, raw[at : at + size]), at + size


def _requested(item: object) -> RequestedOutput:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise InvalidInputError("A requested output must be an object with a 'name'")
    return RequestedOutput(item["name"], _parameters(item))


def _requested_object(output: RequestedOutput) -> dict[str, Any]:
    return {"name": output.name, **({"parameters": dict(output.parameters)} if output.parameters else {})}


def _array(head: dict[str, Any], member: str) -> list[Any]:
    value = head.get(member)
    if not isinstance(value, list):
        raise InvalidInputError(f"'{member}' must be a list of tensors")
    return value


def _parameters(item: dict[str, Any]) -> dict[str, Any] | None:
    found = _object(item, "parameters")
    for name, value in (found or {}).items():
        if not isinstance(value, (str, int, float)):
            raise InvalidInputError(
                f"Parameter {name!r} is a string, a number or a boolean, not {type(value).__name__}"
            )
    return found


def _object(head: dict[str, Any], member: str) -> dict[str, Any] | None:
    value = head.get(member)
    if value is not None and not isinstance(value, dict):
        raise InvalidInputError(f"'{member}' must be an object")
    return value


def _text(head: dict[str, Any], member: str) -> str | None:
    value = head.get(member)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"'{member}' must be a string")
    return value
