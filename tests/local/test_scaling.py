"""From zero and back: cold starts, idle, deaths, crashes, queues; with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.local.conftest import QUICK, component, inference_service, lines, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.conftest import Running


async def post(up: Running, path: str = "/") -> tuple[int, str, str]:
    """Status, Retry-After and body of a POST."""
    async with up.client.post(up.url() + path, data=b"event") as response:
        return response.status, response.headers.get("Retry-After", ""), await response.text()


def test_a_hundred_requests_from_zero_need_one_cold_start(home: Path) -> None:
    """All of them wait at the activator and are answered by the one replica."""
    service = inference_service(predictor=component({"START_DELAY": "0.5"}))

    async def scenario() -> None:
        async with running(home, service) as up:
            assert up.twin.status().services[0].replicas == ()
            asked = [asyncio.ensure_future(up.ask(f"/{number}")) for number in range(100)]
            await up.until(lambda: up.twin.status().services[0].queued == 100)
            answers = await asyncio.gather(*asked)
            assert {answer["name"] for answer in answers} == {"labels-predictor-1"}
            assert [answer["path"] for answer in answers] == [f"/{number}" for number in range(100)]
            status = up.twin.status().services[0]
            assert (status.queued, status.in_flight, status.desired) == (0, 0, 1)
            assert status.cold_start is not None
            assert status.cold_start >= 0.5
            assert len(up.kinds("starting")) == len(up.kinds("ready")) == 1
            assert up.kinds("ready")[0].seconds == status.cold_start

    asyncio.run(scenario())


def test_an_idle_service_goes_to_zero_and_comes_back(home: Path, tmp_path: Path) -> None:
    """After the idle time the replica is ended with SIGTERM; the next request starts a new one."""
    journal = tmp_path / "journal"
    service = inference_service(predictor=component({"JOURNAL": str(journal)}, idle="500ms"))

    async def scenario() -> None:
        async with running(home, service) as up:
            for number in (1, 2):
                assert (await up.ask())["name"] == f"labels-predictor-{number}"
                await up.until(lambda: not up.twin.status().services[0].replicas)
                assert lines(journal)[-1] == f"labels-predictor-{number} SIGTERM"
            assert [event.kind for event in up.events] == ["starting", "ready", "stopping", "stopped"] * 2

    asyncio.run(scenario())


def test_a_request_that_takes_longer_than_the_idle_time_is_answered(home: Path) -> None:
    """In flight is not idle."""
    service = inference_service(predictor=component(idle="100ms"))

    async def scenario() -> None:
        async with running(home, service) as up:
            assert (await up.ask("/?delay=1"))["name"] == "labels-predictor-1"

    asyncio.run(scenario())


def test_a_minimum_is_there_without_requests(home: Path) -> None:
    """And stays however idle it is."""
    service = inference_service(predictor=component(idle="100ms", minReplicas=2, maxReplicas=2))

    async def scenario() -> None:
        async with running(home, service) as up:
            await up.until(lambda: len(up.kinds("ready")) == 2)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(up.until(lambda: bool(up.kinds("stopping"))), 0.5)
            assert [replica.state for replica in up.twin.status().services[0].replicas] == ["ready", "ready"]

    asyncio.run(scenario())


def test_a_hard_limit_is_kept_and_asks_for_more_replicas_at_once(home: Path) -> None:
    """No replica has more than containerConcurrency requests; those that wait bring further replicas."""
    service = inference_service(predictor=component(containerConcurrency=1, maxReplicas=3))

    async def scenario() -> None:
        async with running(home, service) as up:
            asked = [asyncio.ensure_future(up.ask("/?delay=0.3")) for _ in range(6)]
            most = 0
            while not all(request.done() for request in asked):
                status = up.twin.status().services[0]
                most = max(most, *(replica.in_flight for replica in status.replicas), 0)
                await asyncio.wait(asked, timeout=0.02)
            answers = await asyncio.gather(*asked)
            assert most == 1
            assert {answer["name"] for answer in answers} == {f"labels-predictor-{number}" for number in (1, 2, 3)}

    asyncio.run(scenario())


def test_a_killed_replica_is_told_to_the_caller_and_replaced(home: Path, tmp_path: Path) -> None:
    """Its requests get 503 with Retry-After and are never sent twice; a new replica answers the next."""
    journal = tmp_path / "journal"
    service = inference_service(predictor=component({"JOURNAL": str(journal)}))

    async def scenario() -> None:
        async with running(home, service) as up:
            victim = (await up.ask())["pid"]
            doomed = [asyncio.ensure_future(post(up, f"/doomed{number}?delay=30")) for number in range(3)]
            await up.until(lambda: sum("doomed" in line for line in lines(journal)) == 3)
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            for status, retry_after, body in await asyncio.gather(*doomed):
                assert (status, retry_after) == (503, "1")
                assert "labels-predictor-1 broke the connection" in body
            assert time.monotonic() - began < 5
            assert (await up.ask())["name"] == "labels-predictor-2"
            assert sum("doomed" in line for line in lines(journal)) == 3
            assert "SIGKILL" in up.kinds("died")[0].detail

    asyncio.run(scenario())


def test_a_replica_that_kills_itself_at_a_request_is_replaced_each_time(home: Path) -> None:
    """A poisonous request costs its replica, not the service."""

    async def scenario() -> None:
        async with running(home, inference_service()) as up:
            for _ in range(3):
                assert (await post(up, "/?die=1"))[0] == 503
                assert (await up.ask())["name"]

    asyncio.run(scenario())


def test_a_crash_at_start_is_told_to_the_waiting_requests(home: Path) -> None:
    """After three starts, with the last line of standard error; and the next request tries again."""
    service = inference_service(predictor=component({"CRASH": "RuntimeError: weights are missing"}))

    async def scenario() -> None:
        async with running(home, service) as up:
            for attempt in (1, 2):
                answers = await asyncio.wait_for(asyncio.gather(*(post(up) for _ in range(10))), 20)
                assert {(status, retry) for status, retry, _ in answers} == {(503, "1")}
                assert all("exited with code 3: RuntimeError: weights are missing" in body for _, _, body in answers)
                assert up.twin.status().services[0].queued == 0
                assert len(up.kinds("failed")) == attempt
            assert len(up.kinds("starting")) == 4  # three, and one more for the later requests
            assert "weights are missing" in up.twin.status().services[0].problem

    asyncio.run(scenario())


def test_a_start_that_fails_twice_is_waited_for(home: Path, tmp_path: Path) -> None:
    """The third start answers: the requests see nothing but the delay, and later failures count from none again."""
    left = tmp_path / "left"
    left.write_text("2")
    service = inference_service(predictor=component({"CRASHES": str(left)}))

    async def scenario() -> None:
        async with running(home, service) as up:
            assert (await up.ask())["name"] == "labels-predictor-3"
            assert up.twin.status().services[0].problem == ""
            left.write_text("2")
            assert (await post(up, "/?die=1"))[0] == 503
            assert (await up.ask())["name"] == "labels-predictor-6"
            assert up.kinds("failed") == []

    asyncio.run(scenario())


def test_a_command_that_does_not_exist_is_told(home: Path) -> None:
    """As any other start that fails."""
    service = inference_service()
    service["spec"]["predictor"]["containers"][0]["command"] = ["no-such-program"]

    async def scenario() -> None:
        async with running(home, service) as up:
            status, _, body = await post(up)
            assert status == 503
            assert "cannot run 'no-such-program': No such file" in body

    asyncio.run(scenario())


def test_a_replica_that_is_never_ready_ends_in_504(home: Path) -> None:
    """The wait counts against the request's own time, as in Knative; what does not become ready is ended by its own."""
    service = inference_service(predictor=component({"START_DELAY": "60"}, timeout=1))

    async def scenario() -> None:
        async with running(home, service, settings=replace(QUICK, cold_start=3.0)) as up:
            began = time.monotonic()
            status, _, body = await post(up)
            assert status == 504
            assert "activator request timeout" in body
            assert 0.9 < time.monotonic() - began < 30
            await up.until(lambda: bool(up.kinds("died")), 60)

    asyncio.run(scenario())


def test_an_answer_that_takes_too_long_is_504(home: Path) -> None:
    """``timeout`` of the component bounds a request at a replica; the replica lives on."""
    service = inference_service(predictor=component(timeout=1))

    async def scenario() -> None:
        async with running(home, service) as up:
            status, _, body = await post(up, "/?delay=20")
            assert status == 504
            assert "did not answer within 1 s" in body
            assert (await up.ask())["name"] == "labels-predictor-1"

    asyncio.run(scenario())


def test_a_full_queue_is_503(home: Path) -> None:
    """One more than the depth is refused at once, those within it are answered."""
    service = inference_service(predictor=component({"START_DELAY": "1"}))

    async def scenario() -> None:
        async with running(home, service, settings=replace(QUICK, queue_depth=3)) as up:
            waiting = [asyncio.ensure_future(post(up)) for _ in range(3)]
            await up.until(lambda: up.twin.status().services[0].queued == 3)
            status, retry_after, body = await post(up)
            assert (status, retry_after) == (503, "1")
            assert "pending request queue full: 3" in body
            assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200] * 3

    asyncio.run(scenario())


def test_a_client_that_goes_away_leaves_the_queue(home: Path, tmp_path: Path) -> None:
    """Its place is free, and the replica never sees its request."""
    journal = tmp_path / "journal"
    service = inference_service(predictor=component({"START_DELAY": "1", "JOURNAL": str(journal)}))

    async def scenario() -> None:
        async with running(home, service) as up:
            leaving = asyncio.ensure_future(post(up, "/leaves"))
            staying = asyncio.ensure_future(post(up, "/stays"))
            await up.until(lambda: up.twin.status().services[0].queued == 2)
            leaving.cancel()
            await up.until(lambda: up.twin.status().services[0].queued == 1)
            assert (await staying)[0] == 200
            assert [line for line in lines(journal) if "request" in line] == ["labels-predictor-1 request /stays"]

    asyncio.run(scenario())


def test_a_client_that_goes_away_mid_request_frees_its_replica(home: Path) -> None:
    """With a hard limit of one, the next request gets its place."""
    service = inference_service(predictor=component(containerConcurrency=1))

    async def scenario() -> None:
        async with running(home, service) as up:
            await up.ask()
            leaving = asyncio.ensure_future(post(up, "/?delay=30"))
            await up.until(lambda: up.twin.status().services[0].in_flight == 1)
            leaving.cancel()
            assert (await post(up))[0] == 200

    asyncio.run(scenario())


def test_a_replica_that_stops_listening_is_replaced(home: Path) -> None:
    """A process that lives on but takes no connections is suspect, gets no requests, and is killed when it stays so."""
    service = inference_service()
    # Stops listening at the first request that is no probe, and lives on.
    program = (
        "import http.server, os, threading\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        if 'health' in self.path: self.send_response(200); self.end_headers(); return\n"
        "        threading.Thread(target=stop).start()\n"
        "def stop(): s.shutdown(); s.server_close()\n"
        "s = http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H)\n"
        "s.serve_forever(); threading.Event().wait()\n"
    )
    service["spec"]["predictor"]["containers"][0]["command"] = ["python", "-c", program]

    async def scenario() -> None:
        async with running(home, service, settings=replace(QUICK, suspect=0.3)) as up:
            for number in (1, 2):
                async with up.client.get(up.url() + "/") as response:
                    assert response.status == 503
                await up.until(lambda number=number: len(up.kinds("died")) == number)  # type: ignore[misc] # bound now

    asyncio.run(scenario())
