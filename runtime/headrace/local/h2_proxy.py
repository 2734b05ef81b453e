"""HTTP/2 and gRPC on the twin's doors: each stream is a request of its own, through the same queues as HTTP/1.1."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from headrace.errors import HeadraceError, OverloadedError, UnavailableError
from headrace.local.h2_link import Broken, Data, End, Head, Link, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.local.h2_link import Headers
    from headrace.local.replica import Replica
    from headrace.local.resources import Limits
    from headrace.local.routing import Route
    from headrace.local.running_route import RunningRoute

    Finder = Callable[[str, str], "Route[RunningRoute] | None"]

_GRPC = b"application/grpc"
_UNAVAILABLE = b"14"
"""gRPC's code for what an HTTP client is told as 503 or 504."""
_UNIMPLEMENTED = b"12"
_CONNECTION_OWN = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class H2Proxy:
    """Forwards streams to replicas, each of which has one connection."""

    def __init__(self) -> None:
        self._links: dict[Replica, asyncio.Future[Link]] = {}

    def link(self, find: Finder) -> Link:
        """The protocol of one connection of a client.

        Args:
            find: The route by host and path.
        """

        def begin(stream: Stream, headers: Headers) -> None:
            stream.task = asyncio.ensure_future(self._serve(stream, headers, find))

        return Link(client=False, on_stream=begin)

    def close(self) -> None:
        """Close the connections to replicas."""
        for opening in self._links.values():
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().close()
        self._links.clear()

    async def _serve(self, stream: Stream, headers: Headers, find: Finder) -> None:
        try:
            await self._forward(stream, headers, find)
        except asyncio.CancelledError:
            stream.reset()
            raise
        except HeadraceError as fault:
            _refuse(stream, headers, fault)
        finally:
            stream.link.forget(stream)

    async def _forward(self, stream: Stream, headers: Headers, find: Finder) -> None:
        pseudo = {name: value for name, value in headers if name.startswith(b":")}
        host = _text(pseudo.get(b":authority") or dict(headers).get(b"host", b""))
        found = find(host, _text(pseudo.get(b":path", b"/")))
        if found is None:
            _answer(stream, headers, 404, _UNIMPLEMENTED, f"No service is called '{host}'")
            return
        service = found.target.pick()
        limits, began = service.service.limits, asyncio.get_running_loop().time()
        words = {_text(name): _text(value) for name, value in headers if not name.startswith(b":")}
        replica = await service.acquire(words, min(limits.total, limits.start))
        try:
            waited = asyncio.get_running_loop().time() - began
            out = await self._open(replica, _forwarded(headers, found.path))
            await _Exchange(stream, out, headers, replica=replica, limits=limits, waited=waited).run()
        finally:
            service.release(replica)

    async def _open(self, replica: Replica, headers: Headers) -> Stream:
        if not replica.http2_port:
            raise UnavailableError(
                f"{replica.name} does not speak HTTP/2", hint="name the container's port h2c, as for Knative"
            )
        return (await self._link_to(replica)).open(headers)

    async def _link_to(self, replica: Replica) -> Link:
        opening = self._links.get(replica)
        if opening is None or (opening.done() and (opening.exception() is not None or opening.result().closed)):
            self._links = {known: link for known, link in self._links.items() if known.state != "draining"}
            opening = asyncio.ensure_future(_connect(replica))
            self._links[replica] = opening
        return await asyncio.shield(opening)


class _Exchange:
    """One stream of a client and its counterpart at a replica, until both are over."""

    def __init__(
        self, stream: Stream, out: Stream, headers: Headers, *, replica: Replica, limits: Limits, waited: float
    ) -> None:
        self._stream = stream
        self._out = out
        self._headers = headers
        self._replica = replica
        self._limits = limits
        self._waited = waited
        self._begun = False

    async def run(self) -> None:
        """Both directions at once; over when the answer is, or a limit."""
        sending = asyncio.ensure_future(_pump_request(self._stream, self._out))
        try:
            await asyncio.wait_for(self._answer(), max(0.001, self._limits.total - self._waited))
        except asyncio.TimeoutError:
            self._late(f"{self._replica.name} did not answer within its time")
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            # Nothing of it is wanted any more; where it is over on both sides this says nothing.
            self._out.reset()

    async def _answer(self) -> None:
        while True:
            part = await self._next()
            if isinstance(part, Head):
                self._begun = True
                self._stream.head(part.headers, end=part.end)
                if part.end:
                    return
            elif isinstance(part, Data):
                await self._stream.data(part.content)
            elif isinstance(part, End):
                self._stream.end()
                return
            else:
                self._broken(part)
                return

    async def _next(self) -> Head | Data | End | Broken:
        idle = self._limits.idle or self._limits.total
        within = idle if self._begun else min(idle, max(0.001, self._limits.start - self._waited))
        return await asyncio.wait_for(self._out.next(), within)

    def _broken(self, how: Broken) -> None:
        if how.lost:
            self._replica.suspect()
        if self._begun or not how.lost:
            self._stream.reset(how.code)
        else:
            _refuse(self._stream, self._headers, UnavailableError(f"{self._replica.name} broke the connection"))

    def _late(self, message: str) -> None:
        if self._begun:
            self._stream.reset(ErrorCodes.CANCEL)
        else:
            _answer(self._stream, self._headers, 504, _UNAVAILABLE, message)


async def _pump_request(stream: Stream, out: Stream) -> None:
    while True:
        part = await stream.next()
        if isinstance(part, Data):
            await out.data(part.content)
        elif isinstance(part, Head):
            out.head(part.headers, end=part.end)
        elif isinstance(part, End):
            out.end()
            return
        else:
            out.reset(part.code)
            return


async def _connect(replica: Replica) -> Link:
    try:
        _, link = await asyncio.get_running_loop().create_connection(
            lambda: Link(client=True), "127.0.0.1", replica.http2_port
        )
    except OSError as fault:
        replica.suspect()
        raise UnavailableError(f"{replica.name} takes no connection: {fault}") from fault
    return link


def _forwarded(headers: Headers, path: str) -> Headers:
    passed = [(name, value) for name, value in headers if name.lower() not in _CONNECTION_OWN and name != b":path"]
    if not any(name == b"x-request-id" for name, _ in passed):
        passed.append((b"x-request-id", uuid.uuid4().hex.encode()))
    # Pseudo-headers come first (RFC 9113, section 8.3).
    return [(b":path", path.encode()), *passed]


def _refuse(stream: Stream, headers: Headers, fault: HeadraceError) -> None:
    status = 503 if isinstance(fault, UnavailableError | OverloadedError) else 504
    _answer(stream, headers, status, _UNAVAILABLE, str(fault))


def _answer(stream: Stream, headers: Headers, status: int, code: bytes, message: str) -> None:
    """An answer of the ingress's own: in gRPC's way to a gRPC client, which would not show a status of HTTP."""
    kind = dict(headers).get(b"content-type", b"")
    text = message.encode("ascii", "replace")
    if kind.startswith(_GRPC):
        status_line = [(b":status", b"200"), (b"content-type", _GRPC)]
        stream.head([*status_line, (b"grpc-status", code), (b"grpc-message", text.replace(b"%", b"%25"))], end=True)
    else:
        stream.head([(b":status", str(status).encode()), (b"content-length", b"0"), (b"x-reason", text)], end=True)


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
