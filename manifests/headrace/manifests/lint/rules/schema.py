"""Rules of structure: what a resource of its kind may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from headrace.manifests.faults import nearest
from headrace.manifests.lint.finding import Hit, Rule, shown
from headrace.manifests.lint.schema_store import AnySchema, Schema, SchemaFile, metadata_schema, schemas_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Path
    from headrace.manifests.lint.manifest import Manifest

_REMOVED = {
    "extensions/v1beta1": "apps/v1 or networking.k8s.io/v1",
    "apps/v1beta1": "apps/v1",
    "apps/v1beta2": "apps/v1",
    "autoscaling/v2beta1": "autoscaling/v2",
    "autoscaling/v2beta2": "autoscaling/v2",
    "batch/v1beta1": "batch/v1",
    "policy/v1beta1": "policy/v1",
    "networking.k8s.io/v1beta1": "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1": "rbac.authorization.k8s.io/v1",
    "serving.knative.dev/v1alpha1": "serving.knative.dev/v1",
    "serving.knative.dev/v1beta1": "serving.knative.dev/v1",
    "serving.kserve.io/v1alpha2": "serving.kserve.io/v1beta1",
    "kafka.strimzi.io/v1beta2": "kafka.strimzi.io/v1",
}
_KINDS_OF_TYPES = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_CALLED = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One place that a schema does not allow, and by which rule."""

    rule: str
    path: Path
    why: str
    remedy: str


def kind_exists(manifest: Manifest) -> Iterator[Hit]:
    """The apiVersion and kind are there, and known where the group is known."""
    for key in ("apiVersion", "kind"):
        value = manifest.body.get(key)
        if not isinstance(value, str) or not value:
            yield Hit((), f"there is no {key}", f"write {key}: ...")
    file = schemas_of(manifest.group)
    if not manifest.api or not manifest.kind or file is None or f"{manifest.api} {manifest.kind}" in file.kinds:
        return
    if manifest.api in _REMOVED and f"serving.knative.dev/v1beta1 {manifest.kind}" not in file.kinds:
        yield Hit(("apiVersion",), f"{manifest.api} is no longer served", f"write {_REMOVED[manifest.api]}")
        return
    yield from _near_kind(manifest, file)


def _near_kind(manifest: Manifest, file: SchemaFile) -> Iterator[Hit]:
    """A kind or version that looks like a slip; one far from all known is perhaps only unknown here."""
    known = [tuple(each.split(" ")) for each in file.kinds if " " in each]
    versions = sorted({api for api, kind in known if kind == manifest.kind and _group(api) == manifest.group})
    if versions:
        yield Hit(("apiVersion",), f"{manifest.kind} has no version {manifest.api}", f"write {' or '.join(versions)}")
        return
    elsewhere = sorted({api for api, kind in known if kind == manifest.kind})
    if elsewhere and "." not in manifest.group:
        why = f"{manifest.kind} is not of {manifest.api}"
        yield Hit(("apiVersion",), why, f"write {' or '.join(elsewhere)}")
    elif near := nearest(manifest.kind, sorted({kind for api, kind in known if _group(api) == manifest.group})):
        yield Hit(("kind",), f"{manifest.api} has no kind {manifest.kind}", f"did you mean {near}?")


def _group(api: str) -> str:
    return api.rpartition("/")[0]


@lru_cache(maxsize=1)
def faults_of(manifest: Manifest) -> list[Fault]:
    """Everything that the schemas of its kind and of metadata do not allow."""
    file, meta = metadata_schema()
    found = list(_check(file, meta, manifest.body.get("metadata", {}), ("metadata",)))
    own = schemas_of(manifest.group)
    key = f"{manifest.api} {manifest.kind}"
    if own is not None and key in own.kinds:
        body = {key: value for key, value in manifest.body.items() if key != "metadata"}
        schema = own.resolved(own.kinds[key])
        required = [each for each in schema.get("required", ()) if each not in ("metadata", "status")]
        found += _check(own, {**schema, "required": required}, body, ())
    return found


def has_schema(manifest: Manifest) -> bool:
    """Whether the kind can be checked in full."""
    file = schemas_of(manifest.group)
    return file is not None and f"{manifest.api} {manifest.kind}" in file.kinds


def _check(file: SchemaFile, schema: AnySchema, value: Any, path: Path) -> Iterator[Fault]:
    schema = file.resolved(schema)
    if value is None:  # as if it were not there; Kubernetes takes null so
        return
    if "type" in schema and not _is_type(value, schema["type"]):
        yield _wrong_type(schema["type"], value, path)
        return
    yield from _check_scalar(schema, value, path)
    if isinstance(value, dict):
        yield from _check_mapping(file, schema, value, path)
    elif isinstance(value, list):
        yield from _check_list(file, schema, value, path)
    yield from _check_forms(file, schema, value, path)


def _is_type(value: object, types: str | list[str]) -> bool:
    for each in [types] if isinstance(types, str) else types:
        whole = each == "integer" and isinstance(value, float) and value.is_integer()
        if whole or (isinstance(value, _KINDS_OF_TYPES[each]) and (each == "boolean" or not isinstance(value, bool))):
            return True
    return False


def _wrong_type(types: str | list[str], value: object, path: Path) -> Fault:
    wanted = [types] if isinstance(types, str) else types
    why = f"must be {' or '.join(_CALLED[each] for each in wanted)}, and is {_kind_of(value)}"
    remedy = ""
    if wanted == ["string"] and isinstance(value, bool | int | float):
        remedy = f'put it in quotes: "{shown(value)}"'
    elif isinstance(value, str) and set(wanted) & {"integer", "boolean", "number"}:
        remedy = "remove the quotes" if re.fullmatch(r"-?[0-9.]+|true|false", value) else ""
    return Fault("schema/type", path, why, remedy)


def _kind_of(value: object) -> str:
    names = [name for name, kinds in _KINDS_OF_TYPES.items() if type(value) in kinds]
    return _CALLED[names[0]] if names else "something else"


def _check_scalar(schema: Schema, value: Any, path: Path) -> Iterator[Fault]:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if choices and value not in choices:
        near = nearest(value, [each for each in choices if isinstance(each, str)]) if isinstance(value, str) else ""
        remedy = f"did you mean {near}?" if near else f"write {' or '.join(shown(each) for each in choices)}"
        yield Fault("schema/value", path, f"{shown(value)} is none of its values", remedy)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None and value < low:
            yield Fault("schema/value", path, f"{value} is under {low}", f"write {low} or more")
        if high is not None and value > high:
            yield Fault("schema/value", path, f"{value} is over {high}", f"write {high} or less")
    if isinstance(value, str):
        yield from _check_text(schema, value, path)


def _check_text(schema: Schema, value: str, path: Path) -> Iterator[Fault]:
    if len(value) < schema.get("minLength", 0):
        yield Fault("schema/value", path, "is too short" if value else "is empty", "give it a value")
    if len(value) > schema.get("maxLength", len(value)):
        why = f"has {len(value)} characters, {schema['maxLength']} at most"
        yield Fault("schema/value", path, why, "shorten it")
    pattern = _pattern(schema["pattern"]) if "pattern" in schema else None
    if pattern is not None and not pattern.search(value):
        why = f"{shown(value)} is not written as it must be"
        yield Fault("schema/value", path, why, f"it must match {schema['pattern']}")


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str] | None:
    """The compiled pattern; None for one that only Go can read."""
    try:
        return re.compile(text)
    except re.error:
        return None


def _check_mapping(file: SchemaFile, schema: Schema, value: dict[str, Any], path: Path) -> Iterator[Fault]:
    known = schema.get("properties", {})
    for key in schema.get("required", ()):
        if value.get(key) is None:
            # A misspelt one is told as such, where unknown fields are told at all.
            closed = schema.get("additionalProperties") is False
            if not closed or not any(each not in known and nearest(each, [key]) for each in value):
                yield Fault("schema/required", path, f"{key} is missing", f"write {key}: ...")
    if len(value) > schema.get("maxProperties", len(value)) or len(value) < schema.get("minProperties", 0):
        yield Fault("schema/value", path, f"has {len(value)} keys", _count_remedy(schema, "Properties", "keys"))
    other = schema.get("additionalProperties", True)
    for key, each in value.items():
        if key in known:
            yield from _check(file, known[key], each, (*path, key))
        elif other is False:
            guess = nearest(key, known)
            remedy = f"did you mean {guess}?" if guess else f"remove it; known are {_some(known)}"
            yield Fault("schema/unknown-field", (*path, key), f"there is no field {key!r} here", remedy)
        elif isinstance(other, dict):
            yield from _check(file, other, each, (*path, key))


_SOME = 12


def _some(known: dict[str, Any]) -> str:
    names = sorted(known)
    return ", ".join(names[:_SOME]) + (", ..." if len(names) > _SOME else "") if names else "none"


def _check_list(file: SchemaFile, schema: Schema, value: list[Any], path: Path) -> Iterator[Fault]:
    if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
        yield Fault("schema/value", path, f"has {len(value)} entries", _count_remedy(schema, "Items", "entries"))
    for index, each in enumerate(value):
        if "items" in schema:
            yield from _check(file, schema["items"], each, (*path, index))


def _count_remedy(schema: Schema, what: str, called: str) -> str:
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}")
    return f"{low} {called} at least" if high is None else f"{low} to {high} {called}"


def _check_forms(file: SchemaFile, schema: Schema, value: Any, path: Path) -> Iterator[Fault]:
    """``allOf``, ``anyOf``, ``oneOf``, ``not``: what may stand together."""
    for part in schema.get("allOf", ()):
        yield from _check(file, part, value, path)
    any_of, one_of = schema.get("anyOf"), schema.get("oneOf")
    if any_of and not any(_fits(file, part, value, path) for part in any_of):
        yield Fault("schema/form", path, f"fits none of its forms{_forms(file, any_of)}", "choose one of them")
    if one_of and (count := sum(_fits(file, part, value, path) for part in one_of)) != 1:
        how = "fits none of its forms" if count == 0 else f"fits {count} forms at once"
        yield Fault("schema/form", path, f"{how}{_forms(file, one_of)}", "choose exactly one of them")
    if "not" in schema and _fits(file, schema["not"], value, path):
        yield Fault("schema/form", path, "has fields that must not stand together", "remove one of them")


def _fits(file: SchemaFile, part: AnySchema, value: Any, path: Path) -> bool:
    return next(_check(file, part, value, path), None) is None


def _forms(file: SchemaFile, parts: list[AnySchema]) -> str:
    names = [" and ".join(required) for part in parts if (required := file.resolved(part).get("required"))]
    return f" ({', '.join(names)})" if names else ""


def _by(rule: str) -> Any:
    def check(manifest: Manifest) -> Iterator[Hit]:
        # Five rules share one walk, which the cache keeps for the manifest at hand.
        return (Hit(each.path, each.why, each.remedy) for each in faults_of(manifest) if each.rule == rule)

    return check


RULES = (
    Rule(
        "schema/kind",
        "error",
        "apiVersion and kind are there and exist: the API server refuses others.",
        "Write a served version and the kind's exact name.",
        kind_exists,
    ),
    Rule(
        "schema/unknown-field",
        "error",
        "Every field is one that the kind has: a strict API server refuses others, a lenient one drops them silently.",
        "Correct the spelling or the indentation.",
        _by("schema/unknown-field"),
    ),
    Rule(
        "schema/type",
        "error",
        "Every value is of the field's type.",
        "Write a value of that type; quotes make text of a number.",
        _by("schema/type"),
    ),
    Rule(
        "schema/value",
        "error",
        "Every value is one of the field's values, within its bounds, and matches its pattern.",
        "Choose one of them.",
        _by("schema/value"),
    ),
    Rule(
        "schema/required",
        "error",
        "Fields that the kind needs are there.",
        "Write the field.",
        _by("schema/required"),
    ),
    Rule(
        "schema/form",
        "error",
        "Fields that exclude each other do not stand together, and one of several that are needed is there.",
        "Choose one of the forms.",
        _by("schema/form"),
    ),
)
