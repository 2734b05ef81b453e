"""HTTP requests and responses as values, and their way from and to ASGI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import PayloadTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Scope = MutableMapping[str, Any]

JSON = "application/json"

MOST_DISCARDED = 256 * 1024 * 1024
"""Bytes of a refused body that are read for the client's sake; after that the connection breaks."""


class ClientGoneError(Exception):
    """The client closed the connection before its request was read or answered: there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read to its end."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name; a header that is sent twice is joined by a comma."""
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
    return Response(status, {"content-type": JSON, **(headers or {})}, body)


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by lower-case name."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes | bytearray:
    """The body; never more than ``limit`` bytes are held.

    Raises:
        PayloadTooLargeError: the body is larger, or says that it will be.
        ClientGoneError: the client closed the connection.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        await _discard(receive, headers)
        raise _too_large(limit)
    first, more = await _chunk(receive)
    if not more and len(first) <= limit:
        return first
    body = bytearray(first)
    while more and len(body) <= limit:
        part, more = await _chunk(receive)
        body += part
    if len(body) > limit:
        if more:
            await _discard(receive, headers)
        raise _too_large(limit)
    return body


async def send_response(send: Send, response: Response) -> None:
    """Send the whole of ``response``."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    if response.stream is None:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.stream is not None:
        async for part in response.stream:
            data = part if isinstance(part, bytes) else str(part).encode()
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": response.body})


async def _discard(receive: Receive, headers: Mapping[str, str]) -> None:
    """Read what is left of a refused body and keep nothing of it.

    A client that still sends while its connection is closed sees a reset, and never the 413 that says why. One that
    waits to be asked for the body (``Expect: 100-continue``) sends none, and is not asked.
    """
    if headers.get("expect", "").lower() == "100-continue":
        return
    discarded, more = 0, True
    while more and discarded <= MOST_DISCARDED:
        part, more = await _chunk(receive)
        discarded += len(part)


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The request is larger than {limit} bytes", hint="raise --max-request-bytes")
