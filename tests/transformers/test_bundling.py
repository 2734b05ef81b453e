"""Requests of one turn travel together to a predictor that reads bundles, and singly to any other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import web

from headrace.errors import HeadraceError, OverloadedError
from headrace.models import bundles, tensors
from headrace.transformers import bundling
from headrace.transformers.bundling import Bundler
from headrace.transformers.client import PredictorClient
from headrace.transformers.posting import Poster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS = 30.0


@dataclass
class Predictor:
    """Answers each body with itself; reads bundles or does not, and may fail as a whole."""

    extensions: tuple[str, ...] = (bundles.EXTENSION,)
    whole: Callable[[], web.StreamResponse | None] = lambda: None
    bodies: list[int] = field(default_factory=list)
    """How many requests each POST held."""
    hold: asyncio.Event | None = None
    gone: int = 0
    """POSTs whose client left."""

    async def metadata(self, _: web.Request) -> web.Response:
        """v2 server metadata."""
        return web.json_response({"extensions": self.extensions})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A bundle, or one request."""
        body = await request.read()
        together = request.content_type == bundles.MEDIA_TYPE
        if together and (refusal := self.whole()) is not None:
            return refusal
        parts = bundles.load(body) if together else [({"headers": dict(request.headers)}, body)]
        self.bodies.append(len(parts))
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.gone += 1
            raise
        if not together:
            return web.Response(body=body, headers={"x-word": parts[0][0]["headers"]["x-word"]})
        said = [{"status": 200, "headers": {"x-word": part[0]["headers"]["x-word"]}} for part in parts]
        answered = bundles.dump([(each, body) for each, (_, body) in zip(said, parts, strict=True)])
        return web.Response(body=answered, headers={"content-type": bundles.MEDIA_TYPE})


def run(predictor: Predictor, use: Callable[[Bundler, str], Awaitable[Any]]) -> Any:
    """``use`` with a bundler before that predictor, and its URL."""

    async def within() -> Any:
        app = web.Application()
        app.router.add_get("/v2", predictor.metadata)
        app.router.add_post("/{path:.*}", predictor.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        poster = Poster(url, timeout=SECONDS)
        try:
            return await asyncio.wait_for(use(Bundler(poster), url), SECONDS)
        finally:
            await poster.close()
            await runner.cleanup()

    return asyncio.run(within())


async def ask(bundler: Bundler, *bodies: bytes, path: str = "/m") -> list[tuple[int, str, bytes]]:
    """The answers to requests of one turn; each has a header of its own."""
    ends = asyncio.get_running_loop().time() + SECONDS
    asked = (bundler.post(path, body, {"x-word": body[:9].decode()}, ends) for body in bodies)
    return [(one.status, one.headers.get("x-word", ""), one.content) for one in await asyncio.gather(*asked)]


async def until(true: Callable[[], bool]) -> None:
    """Wait for it, within the time that a run may take."""
    for _ in range(int(SECONDS * 1000)):
        if true():
            return
        await asyncio.sleep(0.001)


async def known(bundler: Bundler) -> None:
    """Ask until the bundler knows what the predictor can."""
    await ask(bundler, b"a", b"b")
    await until(lambda: not bundler._tasks)


def test_what_is_asked_in_one_turn_travels_together() -> None:
    """Once the predictor has said that it reads bundles: one POST, and each has its own answer."""
    predictor = Predictor()

    async def use(bundler: Bundler, _: str) -> Any:
        await known(bundler)
        return await ask(bundler, *(b"%d" % number for number in range(70)), b"x" * (bundling.ALONE + 1))

    found = run(predictor, use)
    assert [word for _, word, _ in found] == [content[:9].decode() for _, _, content in found]
    assert [content for *_, content in found[:70]] == [b"%d" % number for number in range(70)]
    assert predictor.bodies[:2] == [1, 1], "nothing is known yet"
    assert sorted(predictor.bodies[2:]) == [1, 6, bundles.MOST], "64 at most, and what is large goes alone"


def test_no_bundle_has_more_bytes_than_it_may() -> None:
    """Bodies that are too much together go in several bundles."""
    predictor = Predictor()
    body = b"x" * bundling.ALONE

    async def use(bundler: Bundler, _: str) -> Any:
        await known(bundler)
        return await ask(bundler, *[body] * 10)

    assert [content for *_, content in run(predictor, use)] == [body] * 10
    assert sorted(predictor.bodies[2:]) == [2, 8]


@pytest.mark.parametrize("extensions", [(), ("binary_tensor_data",), None])
def test_a_predictor_that_does_not_say_so_gets_single_requests(extensions: Any) -> None:
    """KServe's own server, Triton or any other."""
    predictor = Predictor(extensions)

    async def use(bundler: Bundler, _: str) -> Any:
        await known(bundler)
        return await ask(bundler, b"1", b"2")

    assert run(predictor, use) == [(200, "1", b"1"), (200, "2", b"2")]
    assert predictor.bodies == [1, 1, 1, 1]


def test_a_predictor_that_no_longer_reads_them() -> None:
    """Another server has taken its place: what it refuses goes singly, and nobody is told."""
    predictor = Predictor(whole=lambda: web.Response(status=400))

    async def use(bundler: Bundler, _: str) -> Any:
        await known(bundler)
        predictor.extensions = ()
        first = await ask(bundler, b"1", b"2")
        await known(bundler)
        return first + await ask(bundler, b"3", b"4")

    assert [content for *_, content in run(predictor, use)] == [b"1", b"2", b"3", b"4"]
    assert set(predictor.bodies) == {1}


def test_a_refusal_of_the_whole_is_that_of_each() -> None:
    """503 of a proxy, with its Retry-After, is what each request would have got."""
    predictor = Predictor(whole=lambda: web.Response(status=503, headers={"x-word": "later"}))

    async def use(bundler: Bundler, _: str) -> Any:
        await known(bundler)
        return await ask(bundler, b"1", b"2")

    assert run(predictor, use) == [(503, "later", b"")] * 2


@pytest.mark.parametrize(
    "body",
    [b"nonsense", bundles.dump([({"status": 200, "headers": {}}, b"")]), bundles.dump([({"headers": {}}, b"")] * 2)],
)
def test_a_broken_bundle_is_the_predictors_fault(body: bytes) -> None:
    """Each who asked is told that the predictor failed; a retry may help."""
    predictor = Predictor(whole=lambda: web.Response(body=body, headers={"content-type": bundles.MEDIA_TYPE}))

    async def use(bundler: Bundler, _: str) -> Any:
        await known(bundler)
        ends = asyncio.get_running_loop().time() + SECONDS
        asked = (bundler.post("/m", b"1", {"x-word": "1"}, ends) for _ in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    found = run(predictor, use)
    assert all(isinstance(fault, HeadraceError) and fault.retriable for fault in found)


def test_when_all_who_asked_have_gone_the_predictor_is_told() -> None:
    """The connection is closed as soon as nobody waits for an answer of the bundle."""
    predictor = Predictor()

    async def use(bundler: Bundler, _: str) -> Any:
        await known(bundler)
        predictor.hold = asyncio.Event()
        asked = [asyncio.ensure_future(ask(bundler, b"%d" % each)) for each in range(2)]
        await until(lambda: predictor.bodies[-1] == 2)
        asked[0].cancel()
        for _turn in range(20):
            await asyncio.sleep(0)
        assert not predictor.gone
        asked[1].cancel()
        await until(lambda: predictor.gone == 1)

    run(predictor, use)


def test_tensors_and_refusals_of_many_requests() -> None:
    """A client's requests of one turn: the tensors are each one's own, and so is a status."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if request.content_type != bundles.MEDIA_TYPE:
            return web.Response(status=429)
        parts: list[bundles.Part] = []
        for said, part in bundles.load(body):
            wanted = tensors.load_request(part, "m", said["headers"][tensors.HEADER_LENGTH])
            array = wanted.inputs[0].as_numpy()
            given = tensors.new_response("m", {"y": array * 2}, response_id=wanted.id)
            headers, content = tensors.dump_response(given, wanted)
            late = {"status": 429, "headers": {"retry-after": "7"}}
            parts.append((late, b"{}") if array[0] == 1 else ({"status": 200, "headers": headers}, content))
        return web.Response(body=bundles.dump(parts), headers={"content-type": bundles.MEDIA_TYPE})

    predictor = Predictor()
    predictor.answer = answer  # type: ignore[method-assign]  # this test's own

    async def use(_: Bundler, url: str) -> Any:
        client = PredictorClient(url, timeout=SECONDS)
        try:
            asked = [tensors.new_request("m", {"x": np.array([number, 5])}) for number in range(3)]
            await asyncio.gather(*(client.infer(each, {}) for each in asked), return_exceptions=True)
            await until(lambda: not client._bundler._tasks)
            return await asyncio.gather(*(client.infer(each, {}) for each in asked), return_exceptions=True)
        finally:
            await client.close()

    zero, one, two = run(predictor, use)
    assert [given.outputs[0].as_numpy().tolist() for given in (zero, two)] == [[0, 10], [4, 10]]
    assert isinstance(one, OverloadedError)
    assert one.retry_after == 7
