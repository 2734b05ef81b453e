"""The JSON Schema of ``headrace.yaml``, for editors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from headrace.manifests.quantity import format_duration
from headrace.manifests.spec import InferenceApp

SCHEMA_ID = "https://headrace.dev/schemas/v1alpha1/inferenceapp.json"


def json_schema() -> dict[str, Any]:
    """The schema of one app (draft 2020-12): what each field means, its unit, bounds and default.

    What no schema can say (``max`` over ``min``, topics apart) only loading checks.
    """
    schema = InferenceApp.model_json_schema(schema_generator=_Generator)
    return {"$schema": GenerateJsonSchema.schema_dialect, "$id": SCHEMA_ID, **_one_line(schema)}


class _Generator(GenerateJsonSchema):
    """Writes default durations as the file does, and no titles: they repeat the names."""

    def encode_default(self, dft: object) -> object:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's signature
        return False


def _one_line(value: Any) -> Any:
    """Descriptions without the line breaks of the source."""
    if isinstance(value, dict):
        return {
            key: " ".join(item.split()) if key == "description" and isinstance(item, str) else _one_line(item)
            for key, item in value.items()
        }
    return [_one_line(item) for item in value] if isinstance(value, list) else value
