"""One request to one replica and its answer back, streamed.

A request is sent once: where a connection breaks before an answer the caller is told (503, Retry-After) and decides,
since only the caller knows whether doing it twice does harm.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from headrace.errors import DeadlineExceededError, HeadraceError, OverloadedError, UnavailableError

if TYPE_CHECKING:
    from headrace.local.replica import Replica
    from headrace.local.resources import Limits
    from headrace.local.running_route import RunningRoute

# RFC 9110, section 7.6.1: these are of one connection, not of the message.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
SMALL = 1 << 18
"""Bytes up to which a body is passed on in one piece; above, and where its length is unknown, it is streamed."""
_KEEP_ALIVE = 4.0
"""Seconds that an idle connection to a replica is kept: less than the 5 of uvicorn, so that it never closes first."""
_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


def new_session() -> aiohttp.ClientSession:
    """A client for replicas on this machine: no limit of connections, nothing decoded, no cookies kept."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_ADDED,
    )


class Proxy:
    """Forwards requests to services.

    Args:
        session: From :func:`new_session`; its owner closes it.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def forward(self, request: web.BaseRequest, route: RunningRoute, path: str) -> web.StreamResponse:
        """The answer of a replica behind ``route`` to this request at ``path``, or why there is none."""
        began = asyncio.get_running_loop().time()
        service = route.pick()
        limits, trace = service.service.limits, dict[str, str]()
        try:
            replica = await service.acquire(request.headers, min(limits.total, limits.start), trace)
        except HeadraceError as fault:
            return refusal(fault)
        try:
            waited = asyncio.get_running_loop().time() - began
            return await self._exchange(request, limits, replica, path, waited=waited, trace=trace)
        finally:
            service.release(replica)

    async def _exchange(
        self,
        request: web.BaseRequest,
        limits: Limits,
        replica: Replica,
        path: str,
        *,
        waited: float,
        trace: dict[str, str],
    ) -> web.StreamResponse:
        total, start = (max(0.001, limit - waited) for limit in (limits.total, limits.start))
        try:
            # A task of its own for the shorter limit, only where it is one.
            timeout = aiohttp.ClientTimeout(total, sock_read=limits.idle or None)
            sending = self._send(request, replica, path, timeout=timeout, trace=trace)
            upstream = await (asyncio.wait_for(sending, start) if start < total else sending)
        except asyncio.TimeoutError:
            return refusal(DeadlineExceededError(f"{replica.name} did not answer {_within(limits)}"))
        except aiohttp.ClientResponseError as fault:
            return error(502, f"{replica.name} did not answer in HTTP: {fault.message}")
        except aiohttp.ClientError as fault:
            replica.suspect()
            return refusal(UnavailableError(f"{replica.name} broke the connection: {fault}"))
        async with upstream:
            length = upstream.content_length
            if request.method == hdrs.METH_HEAD or length is None or length > SMALL:
                return await _stream(request, upstream)
            return await _whole(upstream, replica)

    async def _send(
        self,
        request: web.BaseRequest,
        replica: Replica,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        trace: dict[str, str],
    ) -> aiohttp.ClientResponse:
        headers = _forwarded(request)
        headers.update(trace)
        if headers.pop(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        data: Any = None
        if request.can_read_body:
            length = request.content_length
            if length is not None and length <= SMALL:
                data = await request.read()
                headers.popall(hdrs.CONTENT_LENGTH, None)
            else:
                data = request.content
        return await self._session.request(
            request.method,
            URL(f"http://127.0.0.1:{replica.port}{path}", encoded=True),
            headers=headers,
            data=data,
            allow_redirects=False,
            timeout=timeout,
        )


def refusal(fault: HeadraceError) -> web.Response:
    """The answer to a request that no replica answers."""
    if isinstance(fault, DeadlineExceededError):
        return error(504, str(fault))
    pause = fault.retry_after if isinstance(fault, OverloadedError) else 1.0
    return error(503, str(fault), {"Retry-After": f"{max(1, round(pause))}"})


def error(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """An answer of the ingress's own, ``{"error": message}``."""
    body = orjson.dumps({"error": message, **more})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _forwarded(request: web.BaseRequest) -> CIMultiDict[str]:
    headers = _end_to_end(request.headers)
    if "x-request-id" not in headers:
        headers["x-request-id"] = uuid.uuid4().hex
    chain = [*headers.popall("x-forwarded-for", []), request.remote or "unknown"]
    headers["x-forwarded-for"] = ", ".join(chain)
    headers.setdefault("x-forwarded-proto", "http")
    return headers


def _within(limits: Limits) -> str:
    idle = f", or sent nothing for {limits.idle:g} s" if limits.idle else ""
    return f"within {min(limits.start, limits.total):g} s{idle}"


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for name in value.split(",")}
    dropped = _HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


async def _whole(upstream: aiohttp.ClientResponse, replica: Replica) -> web.StreamResponse:
    try:
        body = await upstream.read()
    except asyncio.TimeoutError:
        return refusal(DeadlineExceededError(f"{replica.name} did not finish its answer in time"))
    except aiohttp.ClientError as fault:
        replica.suspect()
        return refusal(UnavailableError(f"{replica.name} broke off its answer: {fault}"))
    headers = _end_to_end(upstream.headers)
    headers.popall(hdrs.CONTENT_LENGTH, None)
    return web.Response(status=upstream.status, reason=upstream.reason, headers=headers, body=body)


async def _stream(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = _end_to_end(upstream.headers)
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
    except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError):
        # The status is out already: only a connection that ends too early tells the client that this is not all.
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response
