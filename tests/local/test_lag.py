"""KEDA's lag rule, and the Horizontal Pod Autoscaler's behaviour behind it, decision by decision."""

from __future__ import annotations

import pytest

from headrace.local.lag import LagRule, LagScaler

RULE = LagRule(threshold=100, maximum=10)


def scaler(rule: LagRule = RULE, partitions: int = 100) -> LagScaler:
    """A scaler of a topic."""
    return LagScaler(rule, partitions)


@pytest.mark.parametrize(
    ("lag", "current", "consumers"),
    [(1, 1, 1), (100, 1, 1), (101, 2, 2), (250, 2, 3), (399, 1, 4), (5000, 8, 10), (0, 1, 1)],
)
def test_replicas_follow_the_lag(lag: int, current: int, consumers: int) -> None:
    """ceil(lag / lagThreshold), between one and maxReplicaCount."""
    found = scaler()
    found.decide(1, current, 0.0)
    assert found.decide(lag, current, 20.0) == consumers


def test_no_more_than_partitions() -> None:
    """A consumer beyond them gets none; where consumers may be idle, the lag alone counts."""
    assert scaler(partitions=3).decide(5000, 2, 0.0) == 3
    assert scaler(LagRule(threshold=100, maximum=10, idle_consumers=True), 3).decide(600, 2, 0.0) == 6


def test_from_zero_above_the_activation_threshold() -> None:
    """One then, or the minimum; not at it."""
    rule = LagRule(threshold=100, activation=5)
    assert [scaler(rule).decide(lag, 0, 0.0) for lag in (0, 5, 6, 5000)] == [0, 0, 1, 1]
    assert scaler(LagRule(minimum=2)).decide(1, 0, 0.0) == 2


def test_to_zero_after_the_cooldown() -> None:
    """Since there was lag last; with a minimum it stays."""
    found = scaler(LagRule(threshold=100, cooldown=30.0))
    assert found.decide(1, 1, 0.0) == 1
    assert found.decide(0, 1, 29.0) == 1
    assert found.decide(0, 1, 30.0) == 0
    assert scaler(LagRule(minimum=1, cooldown=0.0)).decide(0, 1, 100.0) == 1


@pytest.mark.parametrize(("lag", "consumers"), [(900, 10), (1099, 10), (1101, 12), (1000, 10)])
def test_a_tenth_changes_nothing(lag: int, consumers: int) -> None:
    """The tolerance of Kubernetes, around ten consumers at a hundred each."""
    assert scaler(LagRule(threshold=100, maximum=50)).decide(lag, 10, 0.0) == consumers


def test_up_by_four_or_twofold() -> None:
    """Whichever is more, of the fewest of the last 15 s."""
    found = scaler(LagRule(threshold=100, maximum=100))
    assert found.decide(9000, 1, 0.0) == 5
    assert found.decide(9000, 5, 10.0) == 5
    assert found.decide(9000, 5, 16.0) == 10
    assert found.decide(9000, 10, 32.0) == 20


def test_down_by_the_most_of_five_minutes() -> None:
    """A short pause takes none away."""
    found = scaler(LagRule(threshold=100, maximum=100, cooldown=1000.0))
    assert found.decide(800, 8, 0.0) == 8
    assert found.decide(100, 8, 60.0) == 8
    assert found.decide(300, 8, 200.0) == 8
    assert found.decide(100, 8, 301.0) == 3
    assert found.decide(100, 3, 501.0) == 1


def test_an_unknown_lag_falls_back() -> None:
    """After so many times in a row; without a fallback, and before, nothing changes."""
    found = scaler(LagRule(fallback=1, failures=3))
    assert [found.decide(None, 4, float(moment)) for moment in range(4)] == [4, 4, 1, 1]
    assert scaler().decide(None, 4, 0.0) == 4
