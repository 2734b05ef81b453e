"""Dispatchers by the lag of their group: the ScaledObject as it is read, and processes that come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from tests.local.conftest import CONFIG_MAP, deployment, until

from headrace.errors import UnavailableError
from headrace.local.dispatchers import Dispatchers, GroupLag
from headrace.local.lag import LagRule
from headrace.local.plan import plan
from headrace.local.resources import LagScaling, Name
from headrace.testing.clock import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.local.supervisor import Supervisor

SCALED: dict[str, Any] = {
    "apiVersion": "keda.sh/v1alpha1",
    "kind": "ScaledObject",
    "metadata": {"name": "labels-dispatcher", "namespace": "vision"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "labels-dispatcher"},
        "pollingInterval": 5,
        "cooldownPeriod": 60,
        "minReplicaCount": 0,
        "maxReplicaCount": 8,
        "fallback": {"failureThreshold": 3, "replicas": 1},
        "triggers": [
            {
                "type": "kafka",
                "metadata": {"topic": "pictures", "consumerGroup": "labels", "lagThreshold": "100"},
            }
        ],
    },
}


def test_a_scaled_object_is_read(tmp_path: Path) -> None:
    """KEDA's fields and defaults; another trigger than one topic's lag is named."""
    done = plan([deployment(tmp_path / "journal"), CONFIG_MAP, SCALED])
    rule = LagRule(threshold=100, maximum=8, cooldown=60.0, fallback=1)
    assert done.scalings == (LagScaling(Name("vision", "labels-dispatcher"), "pictures", "labels", rule, 5.0),)
    other = {**SCALED, "spec": {**SCALED["spec"], "triggers": [{"type": "cron", "metadata": {}}]}}
    assert "only the lag of one topic scales here" in plan([other]).skipped[0]


class Process:
    """A supervisor's stand-in."""

    def __init__(self, number: int, journal: list[str]) -> None:
        self.number = number
        self._journal = journal

    def start(self) -> None:
        """Note it."""
        self._journal.append(f"start {self.number}")

    async def stop(self) -> None:
        """Note it."""
        self._journal.append(f"stop {self.number}")


class Lag:
    """A group whose lag the test says; None is a broker that does not answer."""

    def __init__(self) -> None:
        self.now: int | None = 0
        self.asked = 0

    def read(self) -> tuple[int, int]:
        """The lag, of a topic with four partitions."""
        self.asked += 1
        if self.now is None:
            raise UnavailableError("no broker")
        return self.now, 4

    def close(self) -> None:
        """Nothing to leave."""


def test_dispatchers_come_and_go_with_the_lag() -> None:
    """One to begin with, as many as partitions at most, none after the cooldown, and one again with the next event."""
    journal: list[str] = []
    lag, clock = Lag(), VirtualClock()
    scaling = LagScaling(Name("v", "d"), "t", "g", LagRule(threshold=100, maximum=8, cooldown=400.0), polling=5.0)
    dispatchers = Dispatchers(
        scaling,
        lambda number: cast("Supervisor", Process(number, journal)),
        cast("GroupLag", lag),
        clock,
        limit=8,
    )

    async def after(seconds: float, waiting: int | None) -> int:
        lag.now = waiting
        for _ in range(int(seconds / 5)):
            asked = lag.asked
            await clock.advance(5)
            await until(lambda asked=asked: lag.asked > asked)  # type: ignore[misc] # bound now
            await clock.advance(0)
        return len(dispatchers.running)

    async def scenario() -> None:
        dispatchers.start()
        assert await after(5, 250) == 3
        assert await after(5, 5000) == 4
        assert await after(20, None) == 4
        assert await after(375, 0) == 1
        assert await after(10, 0) == 0
        assert await after(5, 1) == 1
        await dispatchers.stop()

    asyncio.run(scenario())
    assert journal[:4] == ["start 1", "start 2", "start 3", "start 4"]
    assert journal[-2:] == ["start 1", "stop 1"]
