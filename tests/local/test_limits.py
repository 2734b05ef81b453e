"""What is promised of every request: none lost, none run twice, the depths of the queues, the times and their codes."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tests.local.conftest import QUICK, component, inference_service, lines, running

from headrace.local.plan import plan
from headrace.local.state import Home
from headrace.local.trace_store import TraceStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.conftest import Running

KN = "autoscaling.knative.dev/"


async def status_of(up: Running, path: str) -> tuple[int, str]:
    """Status and body of a GET."""
    async with up.client.get(up.url() + path) as response:
        return response.status, await response.text()


@pytest.mark.timeout(180)
def test_a_thousand_requests_at_zero_are_all_answered_once(home: Path, tmp_path: Path) -> None:
    """At containerConcurrency 4: none lost, none run twice, and never more than four at a replica."""
    journal = tmp_path / "journal"
    part = component({"JOURNAL": str(journal), "START_DELAY": "0.5"}, containerConcurrency=4, maxReplicas=2)

    async def scenario() -> None:
        async with running(home, inference_service(predictor=part), settings=replace(QUICK, replica_limit=2)) as up:
            asked = [asyncio.ensure_future(up.ask(f"/{number}")) for number in range(1000)]
            await up.until(lambda: up.twin.status().services[0].queued == 1000, 60)
            answering = asyncio.gather(*asked)
            most = 0
            while not answering.done():
                status = up.twin.status().services[0]
                most = max(most, *(replica.in_flight for replica in status.replicas), 0)
                await asyncio.wait([answering], timeout=0.05)
            answers = answering.result()
            assert [answer["path"] for answer in answers] == [f"/{number}" for number in range(1000)]
            assert most == 4

    asyncio.run(scenario())
    run = Counter(line.rpartition(" ")[2] for line in lines(journal) if " request " in line)
    assert run == Counter(f"/{number}" for number in range(1000))


def straight(**fields: Any) -> dict[str, Any]:
    """A service that the activator leaves the path of: target-burst-capacity 0, one replica always there."""
    annotations = {KN + "target-burst-capacity": "0", "headrace.dev/idle": "1h"}
    return inference_service(predictor=component(minReplicas=1, annotations=annotations, **fields))


def test_past_the_activator_each_replica_queues_ten_times_its_concurrency(home: Path) -> None:
    """One is under way, ten wait, the twelfth is 503; all eleven are answered."""

    async def scenario() -> None:
        async with running(home, straight(containerConcurrency=1)) as up:
            await up.until(lambda: bool(up.kinds("ready")))
            await up.until(lambda: not up.twin.proxied(up.twin.plan.services[0].name))
            asked = [asyncio.ensure_future(status_of(up, "/?delay=0.3")) for _ in range(11)]
            await up.until(lambda: up.twin.status().services[0].queued == 10)
            code, body = await status_of(up, "/")
            assert (code, "pending request queue full: 10 requests wait at labels-predictor-1" in body) == (503, True)
            assert [code for code, _ in await asyncio.gather(*asked)] == [200] * 11
            assert up.twin.status().services[0].in_flight == 0

    asyncio.run(scenario())


def test_the_activator_is_in_the_path_by_the_spare_capacity(home: Path) -> None:
    """In it at zero and with too little to spare (Knative's usual 211), out of it where there is enough."""
    usual = inference_service("usual", predictor=component(minReplicas=1))

    async def scenario() -> None:
        async with running(home, straight(), usual) as up:
            services = {service.name.name: service.name for service in up.twin.plan.services}
            await up.until(lambda: len(up.kinds("ready")) == 2)
            await up.until(lambda: not up.twin.proxied(services["labels-predictor"]))
            assert up.twin.proxied(services["usual-predictor"])
            assert (await up.ask())["name"] == "labels-predictor-1"

    asyncio.run(scenario())


def with_limits(**limits: float) -> dict[str, Any]:
    """A Knative Service with these timeouts."""
    container = component()["containers"][0]
    spec = {**limits, "containers": [container]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "labels", "namespace": "vision"},
        "spec": {"template": {"spec": spec}},
    }


@pytest.mark.parametrize(
    ("limits", "path", "code"),
    [
        ({"timeoutSeconds": 1, "responseStartTimeoutSeconds": 1}, "/?delay=30", 504),
        ({"timeoutSeconds": 60, "responseStartTimeoutSeconds": 1}, "/?delay=30", 504),
        ({"timeoutSeconds": 60, "idleTimeoutSeconds": 1}, "/?delay=30", 504),
        ({"timeoutSeconds": 60, "responseStartTimeoutSeconds": 1}, "/stream?chunks=4&pause=0.5", 200),
        ({"timeoutSeconds": 60, "idleTimeoutSeconds": 2}, "/stream?chunks=6&pause=0.5", 200),
    ],
)
def test_the_three_timeouts(home: Path, limits: dict[str, float], path: str, code: int) -> None:
    """504 before the answer begins; one that began in time, and goes on, is not cut by the first two."""

    async def scenario() -> None:
        async with running(home, with_limits(**limits)) as up:
            # The start of the first replica is not what is timed here.
            async with up.client.get(up.url() + "/", timeout=aiohttp.ClientTimeout(60)) as response:
                await response.read()
            assert (await status_of(up, path))[0] == code

    asyncio.run(scenario())


@pytest.mark.parametrize("limits", [{"timeoutSeconds": 2}, {"timeoutSeconds": 60, "idleTimeoutSeconds": 1}])
def test_an_answer_that_is_cut_does_not_look_complete(home: Path, limits: dict[str, float]) -> None:
    """By the total time, and by silence: the status is out, so the connection ends."""

    async def scenario() -> None:
        async with running(home, with_limits(**limits)) as up:
            await status_of(up, "/")
            with pytest.raises(aiohttp.ClientError):
                await status_of(up, "/stream?chunks=2&pause=20")

    asyncio.run(scenario())


def test_limits_are_knatives_unless_written() -> None:
    """300 s in all and until the answer begins, no bound of silence; KServe's timeout is the first of them."""
    limits = plan([with_limits()]).services[0].limits
    assert (limits.total, limits.start, limits.idle) == (300, 300, 0)
    assert plan([inference_service(predictor=component(timeout=7))]).services[0].limits.total == 7


def test_a_wait_at_a_replica_is_a_span_of_the_request(home: Path) -> None:
    """Below the trace of the one that waits."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def scenario() -> None:
        async with running(home, straight(containerConcurrency=1)) as up:
            await up.until(lambda: bool(up.kinds("ready")))
            await up.until(lambda: not up.twin.proxied(up.twin.plan.services[0].name))
            first = asyncio.ensure_future(status_of(up, "/?delay=1"))
            await up.until(lambda: up.twin.status().services[0].in_flight == 1)
            async with up.client.get(up.url(), headers={"traceparent": parent}) as response:
                assert response.status == 200
            await first

    asyncio.run(scenario())
    with closing(TraceStore.read(Home(home).traces)) as store:
        spans = {span.name: span for span in store.spans_of(parent.split("-")[1])}
    assert spans["queue-proxy wait"].parent_id == parent.split("-")[2]
