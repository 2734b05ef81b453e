"""How events travel to the app: how many together, how many a second, and how often."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from headrace.manifests import names
from headrace.manifests.parts.part import Bytes, Duration, Part
from headrace.manifests.quantity import format_duration

LARGEST = 64 << 20
_MINUTE = timedelta(minutes=1)


class Batch(Part):
    """Events that wait at the same time go to the app in one request; each has its own answer and its own attempts."""

    size: Annotated[int, Field(ge=2, le=1000)] = 32
    """Most events in one request."""
    delay: Duration = timedelta(milliseconds=5)
    """Longest time that the first event waits for others, 0s to 1m. While the app is busy they gather without it."""
    bytes: Bytes = 1 << 20
    """Most bytes of data in one request, 1Ki to 64Mi. An event with more than half of it goes alone."""

    @field_validator("delay")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, timedelta(), _MINUTE)

    @field_validator("bytes")
    @classmethod
    def _holdable(cls, value: int) -> int:
        if not 1 << 10 <= value <= LARGEST:
            raise ValueError("from 1Ki to 64Mi: a request is held in memory as a whole")
        return value


class RateLimit(Part):
    """The most that reaches the app, retries included; what comes faster waits in Kafka."""

    rate: Annotated[float, Field(gt=0, le=1_000_000)]
    """Events a second, of all dispatchers together; 0.5 is one every two seconds."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Events that may come at once after a quiet time."""


class Retry(Part):
    """How a failed delivery is tried again (5xx, 404, 408, 409, 429, no answer); other failures are final."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Deliveries of one event in all, the first one included; then it goes to the dead letters. 1 turns retry off.
    Waiting for a cold start costs no attempt."""
    backoff: Literal["exponential", "linear"] = "exponential"
    """How the wait between attempts grows: doubled, or by `delay` each time; both with full jitter."""
    delay: Duration = timedelta(milliseconds=200)
    """The first wait, 1ms to 1h."""
    max_delay: Duration = timedelta(seconds=30)
    """The longest wait, `delay` to 1h."""

    @field_validator("delay")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, timedelta(milliseconds=1), 60 * _MINUTE)

    @field_validator("max_delay")
    @classmethod
    def _over_delay(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        delay: timedelta = info.data.get("delay", timedelta())
        if value < delay:
            raise ValueError(f"maxDelay is below delay, which is {format_duration(delay)}; raise maxDelay")
        return names.within(value, delay, 60 * _MINUTE)
