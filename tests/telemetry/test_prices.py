"""Prices of seconds: a file, and what a share of a replica costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace.errors import ConfigurationError
from headrace.telemetry.prices import GIB, ReplicaSize, read_prices

if TYPE_CHECKING:
    from pathlib import Path


def _file(folder: Path, text: str) -> Path:
    path = folder / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_seconds_cost_what_the_size_of_their_replica_costs(tmp_path: Path) -> None:
    """An hour is the sum of replica, CPUs, GiB and GPUs at their prices; seconds are their share of it."""
    text = "{currency: EUR, replicaHour: 0.01, cpuHour: 0.04, memoryGibHour: 0.005, gpuHour: 2.4}"
    prices = read_prices(_file(tmp_path, text))
    size = ReplicaSize(cpu=2, memory=4 * GIB, gpu=1)
    assert prices.currency == "EUR"
    assert prices.cost(3600, size) == pytest.approx(0.01 + 0.08 + 0.02 + 2.4)
    assert prices.cost(1, size) == pytest.approx(prices.cost(3600, size) / 3600)


def test_an_app_may_have_prices_of_its_own(tmp_path: Path) -> None:
    """What an app says stands for it alone; what it does not say is as for all."""
    prices = read_prices(_file(tmp_path, "{currency: EUR, cpuHour: 1, gpuHour: 3, apps: {vision/cheap: {gpuHour: 1}}}"))
    size = ReplicaSize(cpu=1, gpu=1)
    assert prices.cost(3600, size, "vision/cheap") == pytest.approx(2)
    assert prices.cost(3600, size, "vision/other") == pytest.approx(4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cpuHour: 1", "currency"),
        ("{currency: EUR, cpuHours: 1}", "cpuHours: unknown"),
        ("{currency: EUR, cpuHour: -1}", "cpuHour: -1 is no price"),
        ("{currency: EUR, cpuHour: true}", "cpuHour: True is no price"),
        ("{currency: EUR, apps: [a]}", "apps: write a mapping"),
        ("{currency: EUR, apps: {a/b: 3}}", "apps.a/b: write a mapping"),
        ("{currency: EUR, apps: {a/b: {gpu: 3}}}", "apps.a/b.gpu: unknown"),
        ("[]", "no mapping"),
        ("{", "not YAML"),
    ],
)
def test_every_mistake_in_a_file_of_prices_is_named(tmp_path: Path, text: str, told: str) -> None:
    """A mistake is told with its place, never taken for a price of nothing."""
    with pytest.raises(ConfigurationError, match=r"prices\.yaml") as raised:
        read_prices(_file(tmp_path, text))
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """No traceback for a name that is wrong."""
    with pytest.raises(ConfigurationError, match="Cannot read"):
        read_prices(tmp_path / "none.yaml")
