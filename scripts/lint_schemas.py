#!/usr/bin/env python3
"""Write the schemas that ``headrace lint`` reads: names, types, enums, bounds, and no description.

    python scripts/lint_schemas.py FOLDER [KUBERNETES_VALIDATE]

FOLDER has a JSON Schema for each custom resource (``GROUP_VERSION_KIND.json``). KUBERNETES_VALIDATE is the folder of
the PyPI package kubernetes-validate, unpacked; without it the core kinds stay as they are. Equal schemas are written
once and named by their index in ``defs``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "manifests/headrace/manifests/lint/schemas"
KUBERNETES = "v1.36.0-local-strict"
CORE_GROUPS = {
    "",
    "apps",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
}
KEPT = (
    "type", "enum", "const", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "minProperties", "maxProperties", "required",
)  # fmt: skip
INLINE = 60
"""Characters up to which a schema is written where it stands."""
SHORT_LIST = 2

Schema = dict[str, Any]
AnySchema = Schema | bool
LATER: dict[str, dict[str, Schema]] = {
    "serving.kserve.io/v1beta1 InferenceService": {
        "tracing": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {"type": "string"} for name in ("exporter", "exporterEndpoint", "sampler", "samplerArg")
            },
        }
    }
}
"""Fields of a spec that releases have and the schemas, made a little before, have not: of KServe 0.21 by its client."""


class Store:
    """Schemas of one file, each once."""

    def __init__(self) -> None:
        self.defs: list[str] = []
        self.index: dict[str, int] = {}

    def put(self, schema: AnySchema) -> AnySchema:
        """The schema, or a reference to it where it is long."""
        text = json.dumps(schema, sort_keys=True, separators=(",", ":"))
        if len(text) <= INLINE:
            return schema
        if text not in self.index:
            self.index[text] = len(self.defs)
            self.defs.append(text)
        return {"ref": self.index[text]}


def compact(schema: AnySchema, store: Store, named: Schema) -> AnySchema:
    """The schema without what only explains, its parts in the store."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        return compact(named[schema["$ref"].rpartition("/")[2]], store, named)
    found: Schema = {key: schema[key] for key in KEPT if key in schema}
    if isinstance(found.get("type"), list):
        types = [each for each in found["type"] if each != "null"]
        found["type"] = types[0] if len(types) == 1 else sorted(types)
    if isinstance(found.get("enum"), list):
        found["enum"] = [each for each in found["enum"] if each is not None]
    _add_parts(schema, found, store, named)
    return store.put(found)


def _add_parts(schema: Schema, found: Schema, store: Store, named: Schema) -> None:
    if "properties" in schema:
        found["properties"] = {
            key: {} if key == "status" and "spec" in schema["properties"] else compact(value, store, named)
            for key, value in schema["properties"].items()
        }
    for key in ("items", "additionalProperties", "not"):
        if key in schema:
            found[key] = compact(schema[key], store, named)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            parts = schema[key]
            if all(set(part) == {"type"} for part in parts):  # an integer or a text: one list of types
                found["type"] = sorted({t for part in parts for t in _types(part) if t != "null"})
            else:
                found[key] = [compact(part, store, named) for part in parts]


def _types(part: Schema) -> list[str]:
    return part["type"] if isinstance(part["type"], list) else [part["type"]]


def custom(folder: Path) -> dict[str, dict[str, tuple[Schema, Schema]]]:
    """Every custom resource by group, then by ``VERSION KIND``."""
    found: dict[str, dict[str, tuple[Schema, Schema]]] = {}
    for path in sorted(folder.glob("*_*_*.json")):
        group, version, kind = path.stem.split("_")
        name, schema = f"{group}/{version} {kind}", json.loads(path.read_text())
        for field, later in LATER.get(name, {}).items():
            schema["properties"]["spec"]["properties"].setdefault(field, later)
        found.setdefault(group, {})[name] = (schema, {})
    return found


def core(package: Path) -> dict[str, tuple[Schema, Schema]]:
    """Every core kind that people write, by ``APIVERSION KIND``, and the schema of metadata."""
    text = (package / "kubernetes-json-schema" / KUBERNETES / "_definitions.json").read_text()
    named = json.loads(text)["$defs"]
    found = {"metadata": (named["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"], named)}
    for schema in named.values():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            group, version = kind["group"], kind["version"]
            if group in CORE_GROUPS and "metadata" in schema.get("properties", {}) and not _is_made(kind["kind"]):
                api = f"{group}/{version}" if group else version
                found[f"{api} {kind['kind']}"] = (schema, named)
    return dict(sorted(found.items()))


def _is_made(kind: str) -> bool:
    """Kinds that a cluster makes, or lists."""
    return bool(re.search(r"(List|Review|Status|Eviction|Scale|Binding\b)$", kind)) and not kind.endswith("RoleBinding")


def write(target: Path, kinds: dict[str, tuple[Schema, Schema]]) -> None:
    """One file: a line a schema, so that a diff shows what changed."""
    store = Store()
    tops = {name: compact(schema, store, named) for name, (schema, named) in kinds.items()}
    defs = ",\n".join(store.defs)
    heads = ",\n".join(f"{json.dumps(name)}:{json.dumps(top, separators=(',', ':'))}" for name, top in tops.items())
    target.write_text(f'{{"kinds":{{\n{heads}\n}},"defs":[\n{defs}\n]}}\n', encoding="utf-8")


def main(arguments: list[str], target: Path = TARGET) -> None:
    """Write every file."""
    for group, kinds in custom(Path(arguments[0])).items():
        write(target / f"{group}.json", kinds)
    if len(arguments) == SHORT_LIST:
        write(target / "core.json", core(Path(arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
