"""How long a batch is held open."""

from __future__ import annotations

from headrace.serving.batching.company import Company
from headrace.serving.settings import BatchLimits


def test_nobody_waits_without_a_delay() -> None:
    """A delay of 0 holds nothing, whatever was seen."""
    company = Company(BatchLimits(max_delay=0.0))
    company.seen(8, 0.0)
    assert company.wait(1, 0.0, 0.0) == 0


def test_a_lone_caller_never_waits() -> None:
    """One that asks again only when it is answered is alone: nothing else is coming."""
    company = Company(BatchLimits(max_delay=0.5))
    for now in (0.0, 1.0, 2.0):
        company.seen(1, now)
        assert company.wait(1, now, now) == 0


def test_as_many_are_expected_as_came_lately() -> None:
    """Eight callers: a batch is held for the eighth, not for a ninth, and never beyond the delay of its first."""
    company = Company(BatchLimits(max_delay=0.5))
    company.seen(8, 10.0)
    assert company.wait(3, 10.25, 10.25) == 0.5
    assert company.wait(3, 10.25, 10.5) == 0.25
    assert company.wait(3, 10.25, 11.0) == 0
    assert company.wait(8, 10.25, 10.25) == 0


def test_what_was_long_ago_is_forgotten() -> None:
    """A burst counts for two stretches of memory and no longer."""
    company = Company(BatchLimits(max_delay=0.05))
    company.seen(8, 0.0)
    company.seen(1, 1.5)
    assert company.wait(1, 1.5, 1.5) > 0
    company.seen(1, 3.0)
    assert company.wait(1, 3.0, 3.0) == 0
