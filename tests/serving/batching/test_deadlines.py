"""When a caller stops waiting, as its headers say."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, timezone

import pytest

from headrace.serving.deadlines import deadline_of


def seconds(headers: dict[str, str]) -> float | None:
    async def left() -> float | None:
        deadline = deadline_of(headers)
        return None if deadline is None else deadline - asyncio.get_running_loop().time()

    return asyncio.run(left())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-envoy-expected-rq-timeout-ms": "1500000"}, 1500),
        ({"grpc-timeout": "2H"}, 7200),
        ({"grpc-timeout": "500000000m"}, None),
        ({"grpc-timeout": "50000000m"}, 50000),
        ({"grpc-timeout": "1000S", "x-envoy-expected-rq-timeout-ms": "2000000"}, 1000),
        ({"grpc-timeout": "soon", "x-envoy-expected-rq-timeout-ms": "-5", "ce-expirytime": "never"}, None),
        ({"ce-expirytime": "1970-01-01T00:00:00Z"}, -time.time()),
        ({"ce-expirytime": (datetime.now(timezone.utc) + timedelta(hours=30)).isoformat()}, 108000),
        ({}, None),
    ],
    # Named, since the clock is in some of them: two processes of one run must call a case the same.
    ids=["envoy", "hours", "too large", "milliseconds", "earlier of two", "no times", "long ago", "in 30 h", "none"],
)
def test_the_earliest_deadline_counts(headers: dict[str, str], expected: float | None) -> None:
    """Envoy's, gRPC's and the event's own are understood; what is no time is none."""
    found = seconds(headers)
    assert found == (None if expected is None else pytest.approx(expected, abs=3600))
