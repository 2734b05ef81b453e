"""HTTP/1.1 on a real socket: what a client may send, how, and how slowly."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from headrace.serving.messages import Request, Response, json_response
from headrace.serving.wire.limits import Limits
from headrace.serving.wire.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

DEADLINE = 30.0
POST = b"POST /p HTTP/1.1\r\nhost: x\r\n"


class Echo:
    """Answers what it was sent; counts what it works on."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.seen: list[Request] = []
        self.open = asyncio.Event()
        self.open.set()
        self.cancelled = asyncio.Event()
        self.arrived = asyncio.Event()

    def enter(self) -> None:
        """One more."""
        self.in_flight += 1

    def leave(self) -> None:
        """One less."""
        self.in_flight -= 1

    async def respond(self, request: Request) -> Response:
        """Answer by the path."""
        self.seen.append(request)
        self.arrived.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if request.path == "/large":
            return Response(200, {}, b"x" * 1_000_000)
        if request.path in ("/stream", "/broken"):
            return Response(200, {"content-type": "text/plain"}, stream=parts(broken=request.path == "/broken"))
        if request.path == "/smuggle":
            return Response(200, {"x": "a\r\nset-cookie: b"}, b"")
        if request.path == "/smuggle-stream":
            return Response(200, {"x": "a\r\nset-cookie: b"}, stream=parts(broken=False))
        if request.path == "/fault":
            raise ZeroDivisionError
        return json_response({"method": request.method, "path": request.path, "body": bytes(request.body).decode()})


async def parts(*, broken: bool) -> AsyncIterator[Any]:
    yield "one "
    yield b""
    if broken:
        raise ValueError("no more")
    yield b"two"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """The next response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        length = int(headers.get("content-length", 0))
        return int(head[0].split()[1]), headers, await self.reader.readexactly(length) if body else b""

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        return await self.reader.read()


def served(use: Callable[[Echo, Listener, Callable[[], Awaitable[Client]]], Awaitable[Any]], **limits: Any) -> Any:
    async def within() -> Any:
        responder = Echo()
        listening = socket.create_server(("127.0.0.1", 0))
        listener = Listener(listening, responder, Limits(**limits))
        await listener.open()
        clients: list[Client] = []

        async def connected() -> Client:
            client = Client(*await asyncio.open_connection(*listening.getsockname()))
            clients.append(client)
            return client

        try:
            return await asyncio.wait_for(use(responder, listener, connected), DEADLINE)
        finally:
            for client in clients:
                client.writer.close()
            await listener.close(linger=0)
            listening.close()

    return asyncio.run(within())


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # told by no event; bounded by the deadline of the whole
        await asyncio.sleep(0.001)


def exchanged(sent: bytes, **limits: Any) -> tuple[int, dict[str, str], bytes]:
    """The response to these bytes on a connection of their own."""

    async def use(_responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        client.writer.write(sent)
        return await client.answer()

    found: tuple[int, dict[str, str], bytes] = served(use, **limits)
    return found


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_request_however_it_is_cut(pieces: int) -> None:
    """Method, path, headers and body arrive whole, in one packet or byte by byte; the path is decoded, once."""

    async def use(responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        sent = b"POST /a%20%2525?q=1 HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\ncontent-length: 5\r\n\r\nhello"
        for at in range(0, len(sent), len(sent) if pieces == 1 else pieces):
            client.writer.write(sent[at : at + (len(sent) if pieces == 1 else pieces)])
            await client.writer.drain()
            await asyncio.sleep(0)
        return await client.answer(), responder.seen[0]

    (status, headers, body), request = served(use)
    assert (status, body) == (200, b'{"method":"POST","path":"/a %25","body":"hello"}')
    assert request.headers == {"host": "x", "x-two": "1, 2", "content-length": "5"}
    assert {"date", "content-type", "content-length"} == set(headers)


def test_chunks_are_a_body() -> None:
    """A chunked request is read to its last chunk, its extensions and trailers left out."""
    status, _, body = exchanged(
        POST + b"transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\ntrailer: t\r\n\r\n"
    )
    assert (status, body) == (200, b'{"method":"POST","path":"/p","body":"abcde"}')


def test_a_connection_is_kept_and_requests_are_answered_in_order() -> None:
    """Requests sent without waiting are answered one by one in their order, more of them than are read ahead."""

    async def use(_responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        client.writer.write(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(40)))
        answers = [await client.answer() for _ in range(40)]
        client.writer.write(b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return answers, await client.rest()

    answers, last = served(use)
    assert [answer[2].split(b'"path":"')[1].split(b'"')[0] for answer in answers] == [b"/%d" % n for n in range(40)]
    assert b"connection: close" in last
    assert b"/last" in last


def test_an_old_client_gets_its_answer_and_the_end() -> None:
    """HTTP/1.0 without keep-alive: the connection ends with the response, a stream with it."""

    async def use(_responder: Echo, _listener: Listener, connected: Any) -> Any:
        plain, stream = await connected(), await connected()
        plain.writer.write(b"GET /old HTTP/1.0\r\n\r\n")
        stream.writer.write(b"GET /stream HTTP/1.0\r\n\r\n")
        return await plain.rest(), await stream.rest()

    plain, stream = served(use)
    assert plain.endswith(b'"path":"/old","body":""}')
    assert stream.endswith(b"\r\n\r\none two")
    assert b"chunked" not in stream


def test_a_stream_comes_in_chunks() -> None:
    """An empty part does not end it; the connection is good for the next request."""

    async def use(_responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        client.writer.write(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
        return [
            (await client.answer())[1]["transfer-encoding"] + (await client.reader.readuntil(b"0\r\n\r\n")).decode()
            for _ in range(2)
        ]

    assert served(use) == ["chunked4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"] * 2


def test_a_stream_that_fails_breaks_the_connection() -> None:
    """The client is not led to believe that it has all."""

    async def use(_responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        client.writer.write(b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            return await client.rest()
        except ConnectionResetError:
            return b""

    assert not served(use).endswith(b"0\r\n\r\n")


def test_head_has_no_body() -> None:
    """HEAD gets the length of what GET would get, and nothing after the headers."""

    async def use(_responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        client.writer.write(b"HEAD /h HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return await client.rest()

    answer = served(use)
    assert b"content-length: 39" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_largest_body(size: int, status: int, chunked: bool) -> None:
    """A body of the limit is read, one byte more is refused with 413, whether its length is declared or not."""
    body = b"x" * size
    framed = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    sent = POST + (framed if chunked else b"content-length: %d\r\n\r\n%b" % (size, body))
    found, headers, _ = exchanged(sent, body=1000)
    assert found == status
    assert headers.get("connection") == (None if status == 200 else "close")


def test_a_client_that_asks_before_it_sends() -> None:
    """``Expect: 100-continue``: asked for the body where it is wanted, refused at once where it is too large."""

    async def use(responder: Echo, _listener: Listener, connected: Any) -> Any:
        wanted, refused = await connected(), await connected()
        wanted.writer.write(POST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        asked = await wanted.answer()
        wanted.writer.write(b"{}")
        refused.writer.write(POST + b"expect: 100-continue\r\ncontent-length: 2000\r\n\r\n")
        return asked[0], (await wanted.answer())[0], (await refused.answer())[0], len(responder.seen)

    assert served(use, body=1000) == (100, 200, 413, 1)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"content-length: -1\r\n\r\n", 400),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 3000 + b"\r\n", 431),
        (b"GET /" + b"a" * 3000, 431),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ],
)
def test_what_is_no_request(sent: bytes, status: int) -> None:
    """Nonsense, two lengths at once (request smuggling) and endless headers get an error, and the connection ends."""
    found, headers, _ = exchanged(sent, head=2000)
    assert (found, headers["connection"]) == (status, "close")


def test_nonsense_after_a_request_does_not_cost_its_answer() -> None:
    """The requests before are answered first, then the error."""

    async def use(responder: Echo, _listener: Listener, connected: Any) -> Any:
        responder.open.clear()
        client = await connected()
        client.writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\nNONSENSE\r\n\r\n")
        await responder.arrived.wait()
        responder.open.set()
        return [(await client.answer())[0] for _ in range(3)], await client.rest()

    assert served(use) == ([200, 200, 400], b"")


def test_another_protocol_is_not_spoken() -> None:
    """A request to upgrade (Java's client sends it with every POST) is answered as HTTP/1.1, and so is the next."""

    async def use(_responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQ\r\n"
        client.writer.write(POST + upgrade + b"content-length: 2\r\n\r\n{}" + POST + b"content-length: 1\r\n\r\n1")
        return [(await client.answer())[2] for _ in range(2)]

    assert [answer[-4:] for answer in served(use)] == [b'{}"}', b'"1"}']


def test_a_client_that_hangs_up_takes_its_request_along() -> None:
    """Its work is cancelled, and counts no more."""

    async def use(responder: Echo, _listener: Listener, connected: Any) -> Any:
        responder.open.clear()
        client = await connected()
        client.writer.write(POST + b"content-length: 0\r\n\r\n")
        await responder.arrived.wait()
        client.writer.close()
        await responder.cancelled.wait()
        await until(lambda: responder.in_flight == 0)

    served(use)


def test_slow_clients_are_let_go() -> None:
    """Silence in the middle of a request gets 408; an idle connection is closed; one that is worked on is neither."""

    async def use(responder: Echo, listener: Listener, connected: Any) -> Any:
        half, idle, busy, fresh = [await connected() for _ in range(4)]
        half.writer.write(POST + b"content-length: 5\r\n\r\nab")
        await until(lambda: len(listener.connections) == 4)
        await until(lambda: sum(not connection.idle for connection in listener.connections) == 1)
        responder.open.clear()
        busy.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await responder.arrived.wait()
        listener.now += 50
        fresh.writer.write(b"GET / HTTP/1.1\r\n")
        await until(lambda: sum(not connection.idle for connection in listener.connections) == 3)
        for connection in tuple(listener.connections):
            connection.check()
        told = (await half.answer())[0], await idle.rest()
        responder.open.set()
        fresh.writer.write(b"host: x\r\n\r\n")
        return *told, (await busy.answer())[0], (await fresh.answer())[0]

    assert served(use, silence=30, idle=40) == (408, b"", 200, 200)


def test_a_client_that_does_not_read_is_let_go() -> None:
    """A response that nobody takes does not hold its connection for ever."""

    async def use(responder: Echo, listener: Listener, connected: Any) -> Any:
        client = await connected()
        client.writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" * 40)
        connection = await first(listener)
        await until(lambda: connection._writable is not None and not connection._writable.is_set())
        listener.now += 200
        connection.check()
        await until(lambda: not listener.connections)
        await until(lambda: responder.in_flight == 0)

    async def first(listener: Listener) -> Any:
        await until(lambda: bool(listener.connections))
        return next(iter(listener.connections))

    served(use)


def test_a_header_cannot_smuggle_another() -> None:
    """A model's response header with a line break is not sent."""
    status, headers, _ = exchanged(b"GET /smuggle HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status == 500
    assert "set-cookie" not in headers


@pytest.mark.parametrize("path", ["/fault", "/smuggle-stream"])
def test_a_fault_of_the_server_leaves_nobody_waiting(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """The connection ends, and the log says why."""

    async def use(responder: Echo, _listener: Listener, connected: Any) -> Any:
        client = await connected()
        client.writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        try:
            received = await client.rest()
        except ConnectionResetError:
            received = b""
        await until(lambda: responder.in_flight == 0)
        return received

    assert served(use) == b""
    assert path in caplog.text


def test_what_waits_at_the_port_is_answered() -> None:
    """Closing loses no connection: one that was made, and whose request is sent, before the close is answered."""

    async def use(_responder: Echo, listener: Listener, connected: Any) -> Any:
        address = listener._socket.getsockname()
        waiting = [socket.create_connection(address) for _ in range(20)]
        for each in waiting:
            each.sendall(b"GET /w HTTP/1.1\r\nhost: x\r\n\r\n")
        await listener.close(linger=5)
        answers = []
        for each in waiting:
            with each:
                each.settimeout(DEADLINE)
                answers.append(each.recv(4096))
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection(address, timeout=DEADLINE)
        return answers

    answers = served(use)
    assert all(answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer for answer in answers)
