"""When to try again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.eventing.retry import RetryPolicy, is_retriable


def test_knatives_retriable_statuses() -> None:
    """5xx, 404, 408, 409 and 429 are tried again; every other answer of 300 and more is final."""
    retriable = {status for status in range(300, 600) if is_retriable(status)}
    assert retriable == {404, 408, 409, 429, *range(500, 600)}


@pytest.mark.parametrize(
    ("backoff", "bounds"), [("exponential", [0.2, 0.4, 0.8, 1.0, 1.0]), ("linear", [0.2, 0.4, 0.6, 0.8, 1.0])]
)
def test_backoff_grows_to_its_cap(backoff: str, bounds: list[float]) -> None:
    """Waits double or grow by the delay, and never pass the cap."""
    policy = RetryPolicy(backoff=backoff, delay=0.2, max_delay=1.0)  # type: ignore[arg-type]  # a parameter's text
    assert [round(policy.bound(failed), 9) for failed in range(1, 6)] == bounds


@given(st.integers(1, 10_000), st.none() | st.floats(0, 100))
def test_jitter_is_full_and_retry_after_is_the_least(failed: int, retry_after: float | None) -> None:
    """A wait lies between zero and its bound, whatever the attempt, but is never below what the receiver asked for."""
    policy = RetryPolicy()
    wait = policy.wait(failed, retry_after=retry_after)
    assert (retry_after or 0.0) <= wait <= max(policy.bound(failed), retry_after or 0.0)
    assert policy.wait(failed, chance=0.0) == 0.0
