"""The compact schemas of core kinds and custom resources, read when first asked for.

``schemas/`` is written by ``scripts/lint_schemas.py``: JSON Schema's own words, without descriptions; ``{"ref": N}``
stands for the Nth of the file's ``defs``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import orjson

Schema = dict[str, Any]
AnySchema = Schema | bool
"""A schema, or whether anything or nothing is allowed."""
_CORE = "core"


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """One group's kinds."""

    kinds: dict[str, AnySchema]
    """By ``APIVERSION KIND``."""
    defs: list[Schema]

    def resolved(self, schema: AnySchema) -> Schema:
        """The schema behind a reference; one that allows all for ``True``."""
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        return self.defs[schema["ref"]] if "ref" in schema else schema


@lru_cache(maxsize=64)
def schemas_of(group: str) -> SchemaFile | None:
    """The schemas of an API group; those of Kubernetes' own groups lie together. None for an unknown group."""
    name = group if "." in group and not group.endswith(".k8s.io") else _CORE
    if group == "gateway.networking.k8s.io":
        name = group
    path = files(__package__) / "schemas" / f"{name}.json"
    if not path.is_file():
        return None
    content = orjson.loads(path.read_bytes())
    return SchemaFile(content["kinds"], content["defs"])


def metadata_schema() -> tuple[SchemaFile, Schema]:
    """What ``metadata`` may hold in any resource, and the file its references are of."""
    core = schemas_of("")
    assert core is not None  # it is part of the package
    return core, core.resolved(core.kinds["metadata"])
