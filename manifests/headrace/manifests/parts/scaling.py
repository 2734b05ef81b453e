"""Between how many replicas, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from headrace.manifests import names
from headrace.manifests.parts.part import Duration, Part

_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)


class Scale(Part):
    """Between how many replicas, and when."""

    min: Annotated[int, Field(ge=0, le=1000)] = 0
    """Fewest replicas; 0 lets an idle app cost nothing and the first event wait for a cold start."""
    max: Annotated[int, Field(ge=1, le=1000)] = 1
    """Most replicas: the bound on what the app may cost. 1 unless you say more."""
    target: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Requests in flight that one replica should have; more bring further replicas. A request may hold a batch."""
    idle: Duration = timedelta(minutes=5)
    """Time without a request after which the last replica goes, 1s to 1h. Knative rounds it up to 6s at least."""
    limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most requests that Knative lets through to one replica at once, `target` or more; further ones wait before it.
    None unless you say: the server queues and batches by itself."""
    initial: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Replicas that a new revision starts with; 1 unless you say. 0 is for clusters that allow it (config-autoscaler
    allow-zero-initial-scale)."""
    activation: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Replicas to start when the first event wakes the app from zero, `max` at most; as many as the load asks for
    unless you say."""
    burst: Annotated[int, Field(ge=-1, le=100_000)] | None = None
    """Requests over the present capacity that Knative is ready to hold: while capacity is less than that away, it
    stands in the path. 0 only at zero replicas, -1 always; 211 unless you say."""
    delay: Duration | None = None
    """Time for which fewer replicas must have been enough before any goes, 0s to 1h; none unless you say."""

    @field_validator("max")
    @classmethod
    def _over_min(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min", 0):
            raise ValueError(f"max is below min, which is {info.data['min']}; raise max or lower min")
        return value

    @field_validator("idle")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND, _HOUR)

    @field_validator("limit")
    @classmethod
    def _over_target(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and value < info.data.get("target", 0):
            raise ValueError(f"limit is below target, which is {info.data['target']}; raise limit or lower target")
        return value

    @field_validator("initial", "activation")
    @classmethod
    def _under_max(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and value > info.data.get("max", value):
            raise ValueError(f"more than max, which is {info.data['max']}; raise max or lower it")
        return value

    @field_validator("delay")
    @classmethod
    def _whole(cls, value: timedelta | None) -> timedelta | None:
        if value is None:
            return None
        if value % _SECOND:
            raise ValueError("Knative takes whole seconds here; write 30s or 5m")
        return names.within(value, timedelta(), _HOUR)
