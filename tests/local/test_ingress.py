"""The doors: host and path routing, headers, bodies, streams."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.local.conftest import component, inference_service, running
from yarl import URL

from headrace.errors import ConfigurationError
from headrace.local.status import TwinStatus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.conftest import Running

CHAIN = inference_service(predictor=component(), transformer=component())


@pytest.mark.parametrize(
    ("host", "answers"),
    [
        ("labels.vision.localhost", "labels-transformer-1"),
        ("LABELS.vision.localhost:8080", "labels-transformer-1"),
        ("labels.vision.svc.cluster.local", "labels-transformer-1"),
        ("labels.vision.svc", "labels-transformer-1"),
        ("labels.vision", "labels-transformer-1"),
        ("labels.vision.127.0.0.1.sslip.io", "labels-transformer-1"),
        ("labels-transformer.vision.localhost", "labels-transformer-1"),
        ("labels-predictor.vision.localhost", "labels-predictor-1"),
    ],
)
def test_a_service_is_known_by_its_hosts(home: Path, host: str, answers: str) -> None:
    """Knative's names lead to a component; the bare name to the outermost one. Host and path pass as they are."""
    path = "/v1/a%2Fb?x=%2F"

    async def scenario() -> None:
        async with (
            running(home, CHAIN) as up,
            up.client.get(
                URL(f"{up.twin.ingress_url}/v1/a%2Fb?x=%2F", encoded=True), headers={"Host": host}
            ) as response,
        ):
            echo = await response.json()
        assert (echo["name"], echo["path"], echo["headers"]["host"]) == (answers, path, host)

    asyncio.run(scenario())


def test_a_service_is_reached_by_path_and_by_its_own_port(home: Path) -> None:
    """For clients that cannot set a host: the namespace and name are taken off the path."""

    async def scenario() -> None:
        async with running(home, CHAIN) as up:
            assert (await up.ask("/a/b?c=d"))["path"] == "/a/b?c=d"
            assert (await up.ask("", "labels-predictor"))["path"] == "/"
            for service in up.twin.status().services:
                async with up.client.get(f"{service.url}/own") as response:
                    assert (await response.json())["name"] == f"{service.name}-1"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("127.0.0.1", "/vision/nothing"),
        ("localhost", "/vision"),
        ("127.0.0.1", "/nothing"),
        ("other.vision.localhost", "/"),
        ("evil.example", "/vision/labels/"),
        ("evil.example", "/"),
    ],
)
def test_an_unknown_place_is_answered_with_the_known_ones(home: Path, host: str, path: str) -> None:
    """404, with every service's host, path and URL; a foreign host reaches nothing by path."""

    async def scenario() -> None:
        async with (
            running(home, inference_service()) as up,
            up.client.get(up.twin.ingress_url + path, headers={"Host": host}) as response,
        ):
            assert response.status == 404
            answer = await response.json()
        assert host in answer["error"]
        assert [(known["host"], known["path"]) for known in answer["services"]] == [
            ("labels.vision.localhost", "/vision/labels/"),
            ("labels-predictor.vision.localhost", "/vision/labels-predictor/"),
        ]

    asyncio.run(scenario())


def test_the_bare_address_tells_the_status(home: Path) -> None:
    """What another process reads there is what the twin itself says."""

    async def scenario() -> None:
        async with running(home, CHAIN) as up:
            await up.ask()
            async with up.client.get(up.twin.ingress_url) as response:
                status = TwinStatus.from_json(await response.read())
            assert status == up.twin.status()
            assert [(service.name, len(service.replicas)) for service in status.services] == [
                ("labels-predictor", 0),
                ("labels-transformer", 1),
            ]

    asyncio.run(scenario())


async def _echo(up: Running, **headers: str) -> dict[str, str]:
    async with up.client.post(up.url(), headers=headers) as response:
        echo: dict[str, str] = (await response.json())["headers"]
        return echo


def test_headers_pass_and_a_request_gets_an_id(home: Path) -> None:
    """End-to-end headers pass, those of the connection do not; what the caller set is never set again."""

    async def scenario() -> None:
        async with running(home, inference_service()) as up:
            plain = await _echo(up)
            assert len(plain["x-request-id"]) == 32
            assert plain["x-forwarded-for"] == "127.0.0.1"
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            sent = {
                "x-request-id": "mine",
                "x-forwarded-for": "10.0.0.1",
                "traceparent": parent,
                "ce-id": "1",
                "x-mine": "yes",
                "te": "trailers",
                "connection": "x-hop",
                "x-hop": "no",
            }
            told = await _echo(up, **sent)
            assert told["x-request-id"] == "mine"
            assert told["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
            assert (told["traceparent"], told["ce-id"], told["x-mine"]) == (parent, "1", "yes")
            assert "te" not in told
            assert "x-hop" not in told

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_passes_both_ways(home: Path, size: int, chunked: bool) -> None:
    """Of any size, with its length told or not, and compressed or not as the sender had it."""
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]

    async def chunks() -> object:
        yield body

    async def scenario() -> None:
        async with running(home, inference_service()) as up:
            data = chunks() if chunked else io.BytesIO(body)
            headers = {"Content-Encoding": "gzip"}  # it is not: whoever decodes on the way fails
            async with up.client.post(f"{up.url()}/raw", data=data, headers=headers) as response:
                assert response.status == 200
                assert await response.read() == body
                assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]

    asyncio.run(scenario())


def test_a_stream_passes_piece_by_piece(home: Path) -> None:
    """An answer larger than any buffer arrives whole."""

    async def scenario() -> None:
        async with (
            running(home, inference_service()) as up,
            up.client.get(f"{up.url()}/stream?chunks=300") as response,
        ):
            assert sum([len(chunk) async for chunk in response.content.iter_any()]) == 300 * 65536

    asyncio.run(scenario())


def test_an_answer_that_breaks_off_does_not_look_complete(home: Path) -> None:
    """The status is out by then: the connection ends without the last chunk, and the client sees it."""

    async def scenario() -> None:
        async with running(home, inference_service()) as up:
            with pytest.raises(aiohttp.ClientError):
                async with up.client.get(f"{up.url()}/stream?chunks=20&cut=1") as response:
                    await response.read()

    asyncio.run(scenario())


def test_a_head_request_has_the_length_and_no_body(home: Path) -> None:
    """And does not wait for one."""

    async def scenario() -> None:
        async with running(home, inference_service()) as up, up.client.head(f"{up.url()}/x") as response:
            assert response.status == 200
            assert int(response.headers["Content-Length"]) > 0
            assert await response.read() == b""

    asyncio.run(scenario())


def test_a_status_of_the_model_passes(home: Path) -> None:
    """An error of the model is the model's: nothing is made of it."""

    async def scenario() -> None:
        async with running(home, inference_service()) as up:
            for status in (201, 302, 404, 429, 500):
                async with up.client.get(f"{up.url()}/?status={status}", allow_redirects=False) as response:
                    assert response.status == status

    asyncio.run(scenario())


def test_a_body_is_asked_for_before_it_is_sent(home: Path) -> None:
    """``Expect: 100-continue`` is answered once a replica is there (curl waits for it with large bodies)."""

    async def scenario() -> None:
        async with (
            running(home, inference_service()) as up,
            up.client.post(f"{up.url()}/raw", data=b"x" * 1000, expect100=True) as response,
        ):
            assert await response.read() == b"x" * 1000

    asyncio.run(scenario())


def test_a_taken_port_is_named_with_the_remedy(home: Path, tmp_path: Path) -> None:
    """And nothing of the twin is left behind: its home is free again."""

    async def scenario() -> None:
        async with running(home, inference_service()) as up:
            port = int(up.twin.ingress_url.rpartition(":")[2])
            for _ in range(2):
                with pytest.raises(ConfigurationError, match=f"Port {port} .*--port"):
                    async with running(tmp_path / "second", inference_service(), port=port):
                        raise AssertionError

    asyncio.run(scenario())
