"""The tensor data types of the Open Inference Protocol, and what numpy calls them.

Raw tensor bytes are little-endian and row-major (binary tensor data extension). BF16 is refused: neither numpy nor
kserve has it.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NUMPY: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BYTES = "BYTES"
_LENGTH = struct.Struct("<I")
_NAMES = {dtype: name for name, dtype in NUMPY.items()}
# What a JSON array may hold for each kind of numpy type: whole numbers are fine where fractions are wanted.
_JSON_KINDS = {"b": "b", "u": "ui", "i": "ui", "f": "fui"}


def datatype_of(array: NDArray[Any]) -> str:
    """The protocol's name of an array's type.

    Raises:
        InvalidInputError: there is none (complex numbers, dates).
    """
    if array.dtype.kind in "OSU":
        return BYTES
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise InvalidInputError(f"No tensor data type of the Open Inference Protocol holds numpy's {array.dtype}")
    return name


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: memoryview) -> NDArray[Any]:
    """The array that ``raw`` is, without a copy (BYTES excepted).

    Raises:
        InvalidInputError: an unknown type, or bytes and shape that do not agree.
    """
    count = math.prod(shape)
    if datatype == BYTES:
        return _shaped(name, _unpack_bytes(name, count, raw), shape)
    dtype = _numpy_type(name, datatype)
    if len(raw) != count * dtype.itemsize:
        raise InvalidInputError(
            f"Tensor '{name}': {datatype} of shape {list(shape)} is {count * dtype.itemsize} bytes, got {len(raw)}"
        )
    return _shaped(name, np.frombuffer(raw, dtype=dtype), shape)


def from_json(name: str, datatype: str, shape: Sequence[int], data: object) -> NDArray[Any]:
    """The array that a JSON list is, nested as its shape or flat in row-major order.

    Raises:
        InvalidInputError: an unknown type, values that are not of it, or a number of values that is not the shape's.
    """
    if not isinstance(data, list):
        raise InvalidInputError(f"Tensor '{name}': 'data' must be a list, not {type(data).__name__}")
    array = _json_strings(name, data) if datatype == BYTES else _json_numbers(name, datatype, data)
    if array.size != math.prod(shape):
        raise InvalidInputError(
            f"Tensor '{name}': shape {list(shape)} holds {math.prod(shape)} values, 'data' has {array.size}"
        )
    return _shaped(name, array, shape)


def to_raw(array: NDArray[Any]) -> bytes | memoryview:
    """The array's bytes on the wire; no copy where they already stand so in memory."""
    if datatype_of(array) == BYTES:
        return b"".join(part for item in array.ravel() for part in _packed(item))
    flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data if flat.size else b""


def to_json(name: str, array: NDArray[Any]) -> list[Any]:
    """The array's values as a flat JSON list in row-major order.

    Raises:
        InvalidInputError: a type that JSON cannot hold: FP16, or BYTES that are no UTF-8.
    """
    kind = datatype_of(array)
    if kind == "FP16":
        raise InvalidInputError(f"Tensor '{name}': FP16 has no JSON form; ask for binary data")
    if kind != BYTES:
        return list(array.ravel().tolist())
    try:
        return [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
    except UnicodeDecodeError as fault:
        raise InvalidInputError(f"Tensor '{name}': BYTES that are no UTF-8; ask for binary data") from fault


def _shaped(name: str, array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    try:
        return array.reshape(shape)
    except ValueError as fault:
        # Too many axes, or lengths beside a 0 whose product is beyond any memory.
        raise InvalidInputError(f"Tensor '{name}': no array has the shape {list(shape)}: {fault}") from fault


def _numpy_type(name: str, datatype: str) -> np.dtype[Any]:
    if datatype not in NUMPY:
        known = ", ".join([*NUMPY, BYTES])
        raise InvalidInputError(f"Tensor '{name}': data type {datatype!r} is not supported, only {known} are")
    return NUMPY[datatype]


def _json_numbers(name: str, datatype: str, data: list[Any]) -> NDArray[Any]:
    dtype = _numpy_type(name, datatype)
    if datatype == "FP16":
        raise InvalidInputError(f"Tensor '{name}': FP16 has no JSON form; send it as binary data")
    try:
        values = np.array(data)
    except ValueError as fault:
        raise InvalidInputError(f"Tensor '{name}': 'data' is a ragged list") from fault
    if not values.size:
        return values.astype(dtype)
    if dtype.kind in "ui" and values.dtype.kind == "f":
        values = _whole(values, data)
    if values.dtype.kind not in _JSON_KINDS[dtype.kind]:
        raise InvalidInputError(f"Tensor '{name}': 'data' has values that are no {datatype}")
    if dtype.kind in "ui" and not _fits(values, dtype):
        raise InvalidInputError(f"Tensor '{name}': 'data' has values outside the range of {datatype}")
    return values.astype(dtype)


def _whole(values: NDArray[Any], data: list[Any]) -> NDArray[Any]:
    """Whole numbers that numpy takes for fractions: beside small ones it finds no type for those beyond 63 bits."""
    exact = np.array(data, dtype=np.object_)
    if not all(type(value) is int for value in exact.flat):
        return values
    try:
        return exact.astype(np.uint64)
    except (OverflowError, TypeError):
        return values


def _fits(values: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return limits.min <= int(values.min()) and int(values.max()) <= limits.max


def _json_strings(name: str, data: list[Any]) -> NDArray[Any]:
    flat: list[str] = []
    pending = list(reversed(data))
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(item))
        elif isinstance(item, str):
            flat.append(item)
        else:
            raise InvalidInputError(f"Tensor '{name}': BYTES in JSON are strings, not {type(item).__name__}")
    return _objects(flat)


def _unpack_bytes(name: str, count: int, raw: memoryview) -> NDArray[Any]:
    items: list[bytes] = []
    at = 0
    while at < len(raw):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(raw, at)[0] if start <= len(raw) else start
        if end > len(raw):
            raise InvalidInputError(f"Tensor '{name}': the BYTES element {len(items)} runs past the end of the data")
        items.append(bytes(raw[start:end]))
        at = end
    if len(items) != count:
        raise InvalidInputError(f"Tensor '{name}': its shape holds {count} elements, its data has {len(items)}")
    return _objects(items)


def _packed(item: object) -> tuple[bytes, bytes]:
    data = item if isinstance(item, bytes) else str(item).encode()
    return _LENGTH.pack(len(data)), data


def _objects(items: Sequence[object]) -> NDArray[Any]:
    # np.array(items) would make fixed-width strings of them, and drop trailing zero bytes.
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return array
