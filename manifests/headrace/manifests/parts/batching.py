"""How a model's requests are merged."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, field_validator

from headrace.manifests import names
from headrace.manifests.parts.part import Bytes, Duration, Part

_MINUTE = timedelta(minutes=1)


class Batching(Part):
    """How the predictor's requests are merged into one call of the model."""

    max_size: Annotated[int, Field(ge=1, le=4096)] = 32
    """Most inputs in one call of the model; 1 turns batching off. More raises throughput until memory is full."""
    max_delay: Duration = timedelta(milliseconds=5)
    """Longest time that the first input waits for others, 0s to 1m. A full batch does not wait."""
    max_bytes: Bytes | None = None
    """Most bytes of tensors in one call of the model, such as 64Mi; no bound unless you say. A larger single request
    runs alone."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Most tokens in one call, padding included, of models that count them, such as texts; no bound unless you say."""

    @field_validator("max_delay")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, timedelta(), _MINUTE)
