"""What is promised of every request: none lost, none run twice, the depths of the queues, the times and their codes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.local.conftest import QUICK, component, inference_service, lines, running

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
            most = 0
            while not all(request.done() for request in asked):
                status = up.twin.status().services[0]
                most = max(most, *(replica.in_flight for replica in status.replicas), 0)
                await asyncio.wait(asked, timeout=0.01)
            answers = await asyncio.gather(*asked)
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
