"""Recordings and receivers for the tests of replay."""

from __future__ import annotations

import asyncio
import threading
import uuid
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Partition, Record
from headrace.eventing.replay.recording import dump_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = 30.0
"""Seconds for the receiver to listen."""


def records(count: int) -> list[Record]:
    """Events 0, 1, 2... of three keys, a tenth of a second apart."""
    found = []
    for number in range(count):
        key = f"k{number % 3}"
        attributes = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", "partitionkey": key}
        written = write_record(new_event(attributes, str(number).encode()), "in", trace={})
        record = Record(Partition("in", 0), number, 1000 + 100 * number, key.encode(), written.value, written.headers)
        found.append(record)
    return found


@pytest.fixture
def recording(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a recording of so many events."""

    def make(count: int) -> Path:
        path = tmp_path / f"{count}.jsonl"
        path.write_bytes(b"".join(map(dump_recorded, records(count))))
        return path

    return make


class Receiver:
    """An HTTP server that answers every event with its own data, in upper case, and remembers the ids it got."""

    def __init__(self) -> None:
        self.change: Callable[[bytes], bytes] = bytes.upper
        self.got: list[str] = []
        self.marks: set[str] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """One event."""
        if request.method == "GET":
            return web.json_response({"ready": True})
        self.got.append(request.headers["ce-id"])
        self.marks.add(request.headers.get("ce-hrreplay", ""))
        return web.Response(body=self.change(await request.read()), content_type="text/plain")


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread of its own."""
    receiver, loop, ready, stop = Receiver(), asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", receiver.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        receiver.url = f"http://127.0.0.1:{port}/"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(START)
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a server that speaks S3, empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto's own
        from moto.server import ThreadedMotoServer  # noqa: PLC0415  # a second to import, for these tests alone

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ``s3://`` address of a new bucket, with what a client needs in the environment."""
    from moto.s3.models import s3_backends  # noqa: PLC0415  # as above

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4().hex}"
    s3_backends["123456789012"]["aws"].create_bucket(name, "us-east-1")
    return f"s3://{name}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver."""
    with receiving() as found:
        yield found
