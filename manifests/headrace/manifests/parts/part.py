"""What every part of the spec is, and the types that its values have."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from headrace.manifests import names
from headrace.manifests.quantity import (
    format_bytes,
    format_cpu,
    format_duration,
    parse_bytes,
    parse_cpu,
    parse_duration,
)

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(0|(\d+(\.\d+)?(us|ms|s|m|h))+)$", "examples": ["200ms", "5m"]}),
]
Cores = Annotated[
    float,
    BeforeValidator(parse_cpu),
    PlainSerializer(format_cpu, return_type=str),
    WithJsonSchema({"type": ["number", "string"], "pattern": r"^\d+(\.\d+)?m?$", "examples": [2, "500m"]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str),
    WithJsonSchema(
        {"type": ["integer", "string"], "pattern": r"^\d+(\.\d+)?([KMGTP]i|[kMGTP])?$", "examples": ["4Gi"]}
    ),
]
Labels = dict[Annotated[str, AfterValidator(names.label_key)], Annotated[str, AfterValidator(names.label_value)]]


class Part(BaseModel):
    """A mapping of the file: unknown keys refused, values frozen, no text taken for a number."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
        alias_generator=to_camel,
        title=None,
    )
