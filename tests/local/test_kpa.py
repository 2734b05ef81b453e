"""Knative's numbers: one decision, and rows of them, from averages and ready replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest

from headrace.local.buckets import Buckets
from headrace.local.kpa import Kpa
from headrace.local.load import Averages
from headrace.local.resources import Scale

USUAL = Scale(target=10.0, total=10 / 0.75, burst=100, up_rate=10.0, down_rate=10.0)
"""The setting of Knative's own unit tests: utilisation 75 %, rates of 10."""


def excess(target: float, burst: float, panic: float, ready: int) -> int:
    """Capacity of all replicas, less the burst, less what is there."""
    return math.floor(target / 0.75 * ready - burst - panic)


@dataclass(frozen=True)
class Case:
    """One decision."""

    name: str
    stable: float
    panic: float
    ready: int
    desired: int
    target: float = 10.0
    burst: float = 100.0
    up: float = 10.0
    down: float = 10.0
    activation: int = 1
    reachable: bool = True
    panics: bool = False


CASES = [
    Case("nothing: to zero", 0, 0, 1, 0),
    Case("the stable average over the target, rounded up", 50, 10, 1, 5, burst=101),
    Case("another step of it", 100, 10, 1, 10, burst=101),
    Case("less than a replica's worth is one", 1, 0, 1, 1, burst=75),
    Case("unlimited burst", 21, 26, 1, 1, target=181, burst=-1),
    Case("no burst", 50, 49, 1, 5, burst=0, panics=True),
    Case("the short window decides in a panic", 50, 100, 1, 10, burst=84, panics=True),
    Case("as many as there are", 50, 50, 5, 5),
    Case("a small rate still adds one", 3, 3.1, 2, 3, target=1, burst=1982, up=1.1, panics=True),
    Case("a small rate takes away what it may", 1, 1, 100, 90, burst=1982, down=1.1),
    Case("no route leads there: no rate holds it", 1, 1, 100, 1, burst=1982, down=1.1, reachable=False),
    Case("up ten times at most", 1000, 1001, 1, 10, burst=61, panics=True),
    Case("up ten times at most, from ten", 1000, 1001, 10, 100, burst=61, panics=True),
    Case("none is ready: counted as one", 1000, 888, 0, 10, burst=81, panics=True),
    Case("down ten times at most", 1, 1, 100, 10, burst=61),
    Case("down ten times at most, from ten", 1, 1, 10, 1, burst=61),
    Case("half at most, Knative's default", 0, 0, 9, 4, down=2),
    Case("the activation scale, once there is one", 1, 0, 1, 2, burst=75, activation=2),
    Case("the activation scale leaves zero alone", 0, 0, 1, 0, burst=75, activation=2),
    Case("twice too few is a panic", 11, 25, 10, 25, target=1, burst=98, panics=True),
    Case("a little less is none", 11, 19, 10, 11, target=1, burst=98),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_decision(case: Case) -> None:
    """ceil(average / target) within the rates of change; panic from 200 % on; the excess burst capacity."""
    scale = replace(
        USUAL,
        target=case.target,
        total=case.target / 0.75,
        burst=case.burst,
        up_rate=case.up,
        down_rate=case.down,
        activation=case.activation,
    )
    found = Kpa(scale).decide(Averages(case.stable, case.panic), case.ready, 1000.0, reachable=case.reachable)
    assert (found.desired, found.panicking) == (case.desired, case.panics)
    expected = {-1.0: -1, 0.0: 0}.get(case.burst)
    assert found.excess == (excess(case.target, case.burst, case.panic, case.ready) if expected is None else expected)


def decide(kpa: Kpa, stable: float, panic: float, ready: int, now: float) -> int:
    """The number of a decision."""
    return kpa.decide(Averages(stable, panic), ready, now).desired


def test_a_panic_ends_a_stable_window_after_the_threshold_was_last_crossed() -> None:
    """Within it nothing is taken away and more is added; a new crossing begins it anew."""
    kpa = Kpa(replace(USUAL, target=1.0))
    assert decide(kpa, 11, 25, 10, 0) == 25
    assert decide(kpa, 30, 41, 40, 30) == 41
    assert kpa.panicking_since == 0
    assert decide(kpa, 50, 56, 55, 62) == 50
    assert kpa.panicking_since is None
    kpa = Kpa(replace(USUAL, target=1.0))
    assert decide(kpa, 11, 25, 10, 0) == 25
    assert decide(kpa, 30, 80, 40, 30) == 80
    assert kpa.panicking_since == 30
    assert decide(kpa, 1, 1, 80, 89) == 80
    assert decide(kpa, 1, 1, 80, 91) == 8


def test_a_burst_that_is_over_keeps_its_replicas_for_the_panic() -> None:
    """100 for a minute after they were needed; then down at once, as far as the rate goes."""
    kpa = Kpa(USUAL)
    assert decide(kpa, 100, 100, 1, 0) == 10
    assert decide(kpa, 100, 1000, 10, 0) == 100
    assert decide(kpa, 1, 1, 10, 30) == 100
    assert decide(kpa, 1, 1, 10, 61) == 1


def test_growing_load_is_followed_decision_by_decision() -> None:
    """6, 36, 216, 1296: each time the load is six times the replicas."""
    kpa = Kpa(replace(USUAL, target=1.0, burst=101.0))
    for step, load in enumerate((6, 36, 216, 1296)):
        assert decide(kpa, load, load, max(1, load // 6), step) == load
        assert kpa.panicking_since == step
    assert decide(kpa, 1296, 1296, 1296, 5) == 1296


def test_the_larger_of_both_windows_counts_in_a_panic() -> None:
    """Also where that is the stable one."""
    for stable, panic, desired in ((50, 30, 50), (20, 30, 30)):
        kpa = Kpa(replace(USUAL, target=1.0), ready=5, now=0.0)
        assert decide(kpa, stable, panic, 5, 5.0) == desired


@pytest.mark.parametrize(("ready", "panics"), [(0, False), (1, False), (2, True)])
def test_a_restart_with_several_replicas_is_a_panic(ready: int, panics: bool) -> None:
    """So that the loss of the averages takes none away."""
    assert (Kpa(USUAL, ready=ready, now=7.0).panicking_since is not None) == panics


def test_scale_down_delay_holds_the_most_of_its_time() -> None:
    """Five minutes: 4 until the last wish for 4 is five minutes old, in steps of a tick; then what came after it."""
    scale = replace(USUAL, panic_threshold=10_000.0, delay=300.0)
    kpa = Kpa(scale)
    assert decide(kpa, 40, 40, 0, 2) == 4
    assert decide(kpa, 0, 0, 0, 300) == 4
    assert decide(kpa, 0, 0, 0, 302) == 0
    kpa = Kpa(scale)
    for now, load, desired in ((540, 40, 4), (600, 30, 4), (660, 0, 4), (840, 0, 3), (900, 0, 0)):
        assert decide(kpa, load, load, 0, now) == desired


def test_scale_down_delay_is_none_without_it_or_without_a_route() -> None:
    """Two decisions in one tick: the later counts. A revision that no route leads to goes at once."""
    kpa = Kpa(replace(USUAL, panic_threshold=10_000.0))
    assert (decide(kpa, 40, 40, 1, 0.0), decide(kpa, 20, 20, 1, 0.5)) == (4, 2)
    kpa = Kpa(replace(USUAL, panic_threshold=10_000.0, delay=300.0))
    assert decide(kpa, 40, 40, 0, 2) == 4
    assert kpa.decide(Averages(0, 0), 0, 4, reachable=False).desired == 0


def test_annotations_change_what_the_next_decision_goes_by() -> None:
    """A tenth of the target: ten times the replicas."""
    kpa = Kpa(replace(USUAL, burst=77.0))
    assert decide(kpa, 100, 101, 1, 0) == 10
    kpa.configure(replace(USUAL, target=1.0, total=1 / 0.75, burst=71.0))
    found = kpa.decide(Averages(100, 101), 10, 2)
    assert (found.desired, found.excess) == (100, excess(1, 71, 101, 10))


def test_a_decision_tells_its_numbers() -> None:
    """As a person checks them."""
    why = Kpa(USUAL).decide(Averages(12.5, 40.0), 1, 0.0).why
    assert why == "stable 12.5 / 10 -> 2; panic 40 / 10 -> 4; 1 ready; in panic, so not below 4"


def test_a_window_is_averaged_over_the_seconds_that_it_has_values_for() -> None:
    """Not thinned by what was before the first value; gaps count as 0; a whole window of silence begins anew."""
    window = Buckets(5.0)
    assert window.empty(100)
    window.record(100.2, 2.0)
    window.record(100.9, 2.0)
    assert window.average(100.9) == 4.0
    window.record(102.0, 2.0)
    assert window.average(102.0) == 2.0
    for second in (103, 104, 105):
        window.record(second, 6.0)
    assert window.average(105.0) == 4.0
    assert window.average(107.0) == 6.0
    assert window.average(110.0) == 0.0
    assert not window.empty(110.0)
    assert window.empty(111.0)
    window.record(120, 3.0)
    assert window.average(120) == 3.0


def test_a_linear_average_is_cut_after_six_digits() -> None:
    """Two thirds are 0.666666."""
    window = Buckets(6.0)
    for second, value in enumerate((1, 1, 0)):
        window.record(second, value)
    assert window.average(2) == 0.666666


def test_a_window_changes_its_length_and_keeps_what_fits() -> None:
    """Shorter: the last seconds; longer: it grows with what comes."""
    window = Buckets(10.0)
    for second in range(10):
        window.record(second, second)
    window.resize(4.0)
    assert window.average(9) == 7.5
    window.resize(60.0)
    window.record(10, 20.0)
    assert window.average(10) == 10.0


def test_the_weighted_average_makes_the_past_count_less() -> None:
    """Weights c, c(1-c), ...: [10, 10, 5, 5] with c = 0.6 is 5.544, reversed 9.072; silence ages it further."""
    coefficient = 1 - (1 - 0.9999) ** (1 / 4)
    window = Buckets(4.0, weighted=True)
    for second, value in enumerate((10, 10, 5, 5)):
        window.record(second, value)
    weights = [coefficient * (1 - coefficient) ** age for age in range(4)]
    assert window.average(3) == pytest.approx(sum(w * v for w, v in zip(weights, (5, 5, 10, 10), strict=True)))
    aged = sum(w * (1 - coefficient) * v for w, v in zip(weights, (5, 5, 10), strict=False))
    assert window.average(4) == pytest.approx(aged)
    long = Buckets(600.0, weighted=True)
    long.record(0, 1.0)
    assert long.average(0) == pytest.approx(0.2)
