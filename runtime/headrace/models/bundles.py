"""Several requests to one path in one body, and their responses: the way from a transformer to its predictor.

Each request keeps its own headers, body, answer and status; a bundle only saves the cost of many HTTP requests. A
server that reads bundles says so in its v2 server metadata (:data:`EXTENSION`). No other form does this for bytes of
any kind: a CloudEvents batch would be base64, multipart has to be searched for its boundaries.

A body is four bytes, the length of an index (big-endian); the index, a JSON list with an object for each part, whose
member ``length`` is that of the part's body; and the bodies one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

MEDIA_TYPE = "application/vnd.headrace.bundle"
EXTENSION = "headrace_bundle"
"""Among the extensions of a server that reads bundles."""
MOST = 64
"""Parts of one bundle."""
_LENGTH = 4

Part = tuple[dict[str, Any], bytes]
"""What is said of a body, and the body: ``headers`` of a request; ``status`` and ``headers`` of a response."""


def dump(parts: Sequence[Part]) -> bytes:
    """The body of a bundle."""
    index = orjson.dumps([{**said, "length": len(body)} for said, body in parts])
    return b"".join((len(index).to_bytes(_LENGTH, "big"), index, *(body for _, body in parts)))


def load(body: bytes | bytearray) -> list[Part]:
    """The parts of a bundle.

    Raises:
        InvalidInputError: it is none, or has more than :data:`MOST` parts.
    """
    begin = _LENGTH + int.from_bytes(body[:_LENGTH], "big")
    try:
        index = orjson.loads(memoryview(body)[_LENGTH:begin])
        lengths = [_length(each) for each in index]
    except (orjson.JSONDecodeError, TypeError, KeyError) as fault:
        raise InvalidInputError(f"The bundle has no index: {fault}") from fault
    if len(lengths) > MOST:
        raise InvalidInputError(f"The bundle has {len(lengths)} parts; {MOST} are read at most")
    if begin + sum(lengths) != len(body):
        raise InvalidInputError(f"The bundle has {len(body)} bytes, and its index tells of {begin + sum(lengths)}")
    parts: list[Part] = []
    for said, length in zip(index, lengths, strict=True):
        parts.append((said, bytes(body[begin : begin + length])))
        begin += length
    return parts


def _length(said: Any) -> int:
    length, headers = said["length"], said["headers"]
    if not isinstance(length, int) or length < 0 or not isinstance(headers, dict):
        raise TypeError(f"{said!r} tells no length and headers")
    if not all(isinstance(value, str) for value in headers.values()):
        raise TypeError(f"{headers!r} are no headers")
    return length
