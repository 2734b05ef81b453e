"""The JSON Schema of headrace.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from headrace.manifests.loading import load_apps
from headrace.manifests.schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def described(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """The field's description, or that of the type it refers to."""
    target = field.get("$ref", "").rpartition("/")[2]
    return str(field.get("description") or schema["$defs"].get(target, {}).get("description", ""))


def test_every_field_is_described() -> None:
    """An editor shows the description: none is empty, none spans lines."""
    schema = json_schema()
    parts = {"InferenceApp": schema, **schema["$defs"]}
    seen = {
        f"{name}.{key}": described(schema, field)
        for name, part in parts.items()
        for key, field in part["properties"].items()
    }
    assert len(seen) > 30
    assert not {key: text for key, text in seen.items() if not text.endswith(".") or "\n" in text}


def test_the_schema_is_one() -> None:
    """It is valid JSON Schema 2020-12 with an identity, refuses unknown keys, and writes defaults as the file does."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith("https://")
    assert all(part["additionalProperties"] is False for part in (schema, *schema["$defs"].values()))
    assert schema["$defs"]["Batching"]["properties"]["maxDelay"]["default"] == "5ms"
    assert schema["$defs"]["Trigger"]["properties"]["filters"]["anyOf"][0]["items"] == {"$ref": "#/$defs/Dialect"}


def test_what_loads_is_valid(pictures: Path) -> None:
    """The example, as written and as written out, satisfies the schema."""
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(yaml.safe_load(pictures.read_text()))
    validator.validate(load_apps(pictures)[0].document())


@pytest.mark.parametrize(
    "spec",
    [
        {"predictor": {"scale": {"min": -1}}},
        {"predictor": {"scale": {"idle": 5}}},
        {"predictor": {"resources": {"memory": "4GB"}}},
        {"predictor": {"klass": "a:B"}},
        {"trigger": {"ordering": "keys"}},
        {"trigger": {"topic": "a b"}},
        {"trigger": {"topic": None}},
    ],
)
def test_what_an_editor_can_see_is_marked(document: Callable[..., dict[str, Any]], spec: dict[str, Any]) -> None:
    """Mistakes within one field are mistakes of the schema too."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(document(spec=spec))
