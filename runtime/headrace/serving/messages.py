"""HTTP requests and responses as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read to its end."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name; one sent twice is joined by a comma. A model may change these: they are its own."""
    body: bytes | bytearray = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    stream: AsyncIterator[Any] | None = None
    """Where set, the body is what it yields, sent as it comes."""


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``value`` as JSON; numpy values become lists and numbers.

    Raises:
        TypeError: ``value`` holds something that has no JSON form.
    """
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(status, {"content-type": JSON, **headers} if headers else {"content-type": JSON}, body)
