"""Open Inference Protocol requests and responses as gRPC messages, tensors raw or in typed fields, both ways.

Raw tensors become numpy views of the received bytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InvalidInputError
from headrace.models import datatypes, tensors
from headrace.models.array_tensors import TensorInput, TensorOutput
from headrace.models.kserve_api import InferRequest, InferResponse, RequestedOutput, messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where each data type's values stand in ``InferTensorContents``; FP16 has no field and is always raw."""


def load_request(message: Any) -> InferRequest:
    """The request in a ``ModelInferRequest``.

    Raises:
        InvalidInputError: naming the tensor and what is wrong with it.
    """
    _check_raw(message)
    arrays = _arrays(message.inputs, message.raw_input_contents)
    inputs = [
        TensorInput(tensor.name, array, tensors.plain_parameters(tensor.parameters))
        for tensor, array in zip(message.inputs, arrays, strict=True)
    ]
    wanted = [RequestedOutput(each.name, tensors.plain_parameters(each.parameters)) for each in message.outputs]
    request = InferRequest(
        message.model_name,
        inputs,
        request_id=message.id,
        from_grpc=True,
        parameters=message.parameters,
        request_outputs=wanted or None,
        model_version=message.model_version,
    )
    request._use_raw_outputs = bool(message.raw_input_contents)  # noqa: SLF001  # what `use_binary_outputs` tells
    return request


def dump_request(request: InferRequest) -> Any:
    """A ``ModelInferRequest`` that carries every input of ``request`` as raw bytes."""
    message = messages.ModelInferRequest(
        id=request.id or "", model_name=request.model_name, model_version=request.model_version or ""
    )
    _put_parameters(message.parameters, request.parameters)
    for tensor in request.inputs:
        _put_tensor(message.inputs.add(), tensor, message.raw_input_contents)
    for wanted in request.request_outputs or ():
        output = message.outputs.add()
        output.name = wanted.name
        _put_parameters(output.parameters, wanted.parameters)
    return message


def load_response(message: Any) -> InferResponse:
    """The response in a ``ModelInferResponse``.

    Raises:
        InvalidInputError: naming the tensor and what is wrong with it.
    """
    outputs = [
        TensorOutput(tensor.name, array, tensors.plain_parameters(tensor.parameters))
        for tensor, array in zip(message.outputs, _arrays(message.outputs, message.raw_output_contents), strict=True)
    ]
    return InferResponse(
        message.id,
        message.model_name,
        outputs,
        model_version=message.model_version or None,
        parameters=tensors.plain_parameters(message.parameters),
        from_grpc=True,
    )


def dump_response(response: InferResponse, request: InferRequest) -> Any:
    """A ``ModelInferResponse``: raw where the request was, or where a tensor is FP16; else in typed fields."""
    raw = _wants_raw(response, request)
    message = messages.ModelInferResponse(
        id=response.id or "",
        model_name=response.model_name or request.model_name,
        model_version=response.model_version or "",
    )
    _put_parameters(message.parameters, response.parameters)
    for tensor in response.outputs:
        _put_tensor(message.outputs.add(), tensor, message.raw_output_contents if raw else None)
    return message


def _wants_raw(response: InferResponse, request: InferRequest) -> bool:
    if request.use_binary_outputs or response._use_binary_outputs:  # noqa: SLF001  # kserve has no public name for it
        return True
    return any(tensor.datatype == "FP16" for tensor in response.outputs)


def _check_raw(message: Any) -> None:
    raw = len(message.raw_input_contents)
    if not raw:
        return
    if raw != len(message.inputs):
        raise InvalidInputError(
            f"the number of inputs ({len(message.inputs)}) does not match the expected number of "
            f"raw input contents ({raw}) for model '{message.model_name}'."
        )
    for tensor in message.inputs:
        if tensor.HasField("contents"):
            raise InvalidInputError(
                "contents field must not be specified when using raw_input_contents for input "
                f"'{tensor.name}' for model '{message.model_name}'"
            )


def _arrays(described: Any, raw: Any) -> list[NDArray[Any]]:
    if raw:
        return [
            datatypes.from_raw(tensor.name, tensor.datatype.upper(), _shape(tensor), memoryview(data))
            for tensor, data in zip(described, raw, strict=True)
        ]
    return [_from_contents(tensor) for tensor in described]


def _shape(tensor: Any) -> list[int]:
    shape = list(tensor.shape)
    if any(length < 0 for length in shape):
        raise InvalidInputError(f"Tensor '{tensor.name}': 'shape' must be whole numbers, none negative")
    return shape


def _from_contents(tensor: Any) -> NDArray[Any]:
    datatype, shape = tensor.datatype.upper(), _shape(tensor)
    field = FIELDS.get(datatype)
    if field is None and datatype != "FP16":
        raise InvalidInputError("invalid content type")
    values = getattr(tensor.contents, field) if field else ()
    if len(values) != math.prod(shape):
        raise InvalidInputError(
            f"Tensor '{tensor.name}': shape {shape} holds {math.prod(shape)} values, its contents have {len(values)}"
        )
    array: NDArray[Any]
    if datatype == datatypes.BYTES:
        array = np.empty(len(values), dtype=np.object_)
        array[:] = list(values)
        return array.reshape(shape)
    dtype = datatypes.NUMPY[datatype]
    try:
        array = np.array(values, dtype=dtype)
    except OverflowError as fault:
        raise InvalidInputError(f"Tensor '{tensor.name}': values outside the range of {datatype}") from fault
    return array.reshape(shape)


def _put_tensor(target: Any, tensor: Any, raw: Any | None) -> None:
    array = tensors.array_of(tensor)
    target.name = tensor.name
    target.datatype = tensor.datatype
    target.shape.extend(tensor.shape)
    parameters = tensors.plain_parameters(tensor.parameters) or {}
    parameters.pop("binary_data_size", None)
    _put_parameters(target.parameters, parameters)
    if raw is not None:
        data = bytes(datatypes.to_raw(array))
        raw.append(data)
        target.parameters["binary_data_size"].int64_param = len(data)  # as KServe does
        return
    values = array.ravel().tolist()
    if tensor.datatype == datatypes.BYTES:
        values = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    contents = getattr(target.contents, FIELDS[tensor.datatype])
    contents.extend(values)
    target.contents.SetInParent()  # a tensor without values still says where they would be


def _put_parameters(target: Any, parameters: Mapping[str, Any] | None) -> None:
    for name, value in (tensors.plain_parameters(parameters) or {}).items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        elif isinstance(value, str):
            target[name].string_param = value
        else:
            raise InvalidInputError(f"Parameter '{name}' must be text, a whole number, or true or false")
