"""gRPC through the ingress: on the same port as HTTP/1.1, from zero, with streams, statuses and limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.local.conftest import CONTAINERS, QUICK, component, inference_service, lines, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.conftest import Running

HOST = "labels.vision.localhost"


def spoken(env: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """A service whose container speaks gRPC at a port called h2c."""
    part = component(env, **fields)
    container = part["containers"][0]
    container["command"] = ["python", str(CONTAINERS / "grpc_echo.py")]
    container["args"] = []
    container["ports"] = [{"name": "h2c", "containerPort": 8080}]
    del container["readinessProbe"]
    return inference_service(predictor=part)


def channel(up: Running, host: str = HOST) -> grpc.aio.Channel:
    """A client's channel to the public port, with the host as its authority."""
    return grpc.aio.insecure_channel(
        up.twin.ingress_url.removeprefix("http://"),
        options=[
            ("grpc.default_authority", host),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),
        ],
    )


async def call(client: grpc.aio.Channel, message: bytes = b"hello", /, **metadata: str) -> tuple[bytes, dict[str, str]]:
    """The answer and the trailers of a unary call."""
    sent = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    calling = client.unary_unary("/test.Echo/Unary")(message, metadata=sent, timeout=60)
    return await calling, dict(await calling.trailing_metadata())


def test_a_call_from_zero_is_answered_by_host_and_by_the_services_own_port(home: Path) -> None:
    """It waits for the cold start as any request; metadata and trailers pass, and it has a request id."""

    async def scenario() -> None:
        async with running(home, spoken()) as up:
            for host in (HOST, "labels-predictor.vision.svc.cluster.local"):
                async with channel(up, host) as client:
                    answer, trailers = await call(client, x_mine="yes")
                    assert (answer, trailers["x-mine"], len(trailers["x-request-id"])) == (b"hello", "yes", 32)
            own = up.twin.status().services[0].url.removeprefix("http://")
            async with grpc.aio.insecure_channel(own) as client:
                assert (await call(client))[0] == b"hello"
            assert len(up.kinds("starting")) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_messages_of_any_size_pass_both_ways(home: Path, size: int) -> None:
    """Larger than every window of the protocol."""
    message = bytes(range(256)) * (size // 256 + 1)

    async def scenario() -> None:
        async with running(home, spoken()) as up, channel(up) as client:
            assert (await call(client, message[:size]))[0] == message[:size]

    asyncio.run(scenario())


def test_a_stream_is_answered_message_by_message(home: Path) -> None:
    """Each answer comes before the next message is sent: nothing on the way waits for an end."""

    async def scenario() -> None:
        async with running(home, spoken()) as up, channel(up) as client:
            calling = client.stream_stream("/test.Echo/Stream")(timeout=60)
            for number in range(20):
                await calling.write(b"%d" % number)
                assert await calling.read() == b"%d" % number
            await calling.done_writing()
            assert await calling.read() is grpc.aio.EOF
            assert await calling.code() is grpc.StatusCode.OK

    asyncio.run(scenario())


def test_a_status_of_the_model_passes(home: Path) -> None:
    """Its code and its words."""

    async def scenario() -> None:
        async with running(home, spoken()) as up, channel(up) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(client, x_abort="FAILED_PRECONDITION")
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert caught.value.details() == "as asked"

    asyncio.run(scenario())


def test_refusals_are_told_in_grpcs_way(home: Path) -> None:
    """An unknown host; a container without h2c; a start that fails; an answer that takes too long."""

    async def told(up: Running, host: str = HOST, **metadata: str) -> tuple[grpc.StatusCode, str]:
        async with channel(up, host) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(client, b"hello", **metadata)
            return caught.value.code(), str(caught.value.details())

    async def scenario() -> None:
        async with running(home / "1", spoken(timeout=2, minReplicas=1)) as up:
            # The start of a replica is not what is timed here.
            await up.until(lambda: bool(up.kinds("ready")), 60)
            assert await told(up, "other.vision.localhost") == (
                grpc.StatusCode.UNIMPLEMENTED,
                "No service is called 'other.vision.localhost'",
            )
            code, words = await told(up, x_delay="20")
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "did not answer within" in words
        async with running(home / "2", inference_service()) as up:
            code, words = await told(up)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "does not speak HTTP/2" in words
        broken = spoken()
        broken["spec"]["predictor"]["containers"][0]["command"] = ["python", "-c", "raise SystemExit('no weights')"]
        async with running(home / "3", broken) as up:
            code, words = await told(up)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "before it was ready" in words

    asyncio.run(scenario())


def test_calls_are_held_at_the_hard_limit_and_each_runs_once(home: Path, tmp_path: Path) -> None:
    """Of one connection, and of two replicas: as many at a time as containerConcurrency, none lost, none twice."""
    journal = tmp_path / "journal"
    service = spoken({"JOURNAL": str(journal)}, containerConcurrency=2, maxReplicas=2)

    async def scenario() -> None:
        async with running(home, service, settings=replace(QUICK, replica_limit=2)) as up, channel(up) as client:
            calls = [asyncio.ensure_future(call(client, b"%d" % number, x_delay="0.02")) for number in range(60)]
            most = 0
            while not all(calling.done() for calling in calls):
                status = up.twin.status().services[0]
                most = max(most, *(replica.in_flight for replica in status.replicas), 0)
                await asyncio.wait(calls, timeout=0.01)
            answers = await asyncio.gather(*calls)
            assert [answer for answer, _ in answers] == [b"%d" % number for number in range(60)]
            assert sorted(lines(journal), key=int) == [str(number) for number in range(60)]
            assert most <= 2

    asyncio.run(scenario())


def test_a_client_that_goes_away_leaves_its_place(home: Path, tmp_path: Path) -> None:
    """While it waits and while it is answered: with a hard limit of one, the next gets the place."""
    service = spoken(containerConcurrency=1)

    async def scenario() -> None:
        async with running(home, service) as up, channel(up) as client:
            await call(client)
            first = asyncio.ensure_future(call(client, x_delay="50"))
            await up.until(lambda: up.twin.status().services[0].in_flight == 1)
            second = asyncio.ensure_future(call(client))
            await up.until(lambda: up.twin.status().services[0].queued == 1)
            second.cancel()
            await up.until(lambda: up.twin.status().services[0].queued == 0)
            first.cancel()
            assert (await call(client))[0] == b"hello"

    asyncio.run(scenario())


def test_http1_goes_on_at_the_same_port(home: Path) -> None:
    """Both protocols at one time; a client that sends its first bytes one by one is understood too."""
    both = inference_service("both")

    async def scenario() -> None:
        async with running(home, spoken(), both) as up, channel(up) as client:
            calling = asyncio.ensure_future(call(client))
            assert (await up.ask("/x", "both"))["path"] == "/x"
            assert (await calling)[0] == b"hello"
            host, _, port = up.twin.ingress_url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            for byte in b"PUT /vision/both/y HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n":
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert b"200 OK" in await reader.readline()
            writer.close()

    asyncio.run(scenario())
