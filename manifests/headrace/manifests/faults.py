"""What pydantic found wrong with an app, said in the words of the file: path, value, remedy."""

from __future__ import annotations

import difflib
import types
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from headrace.manifests.quantity import format_duration
from headrace.manifests.spec import InferenceApp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from headrace.manifests.document import Path

_RESULTS = ("spec", "results")
"""Its topic is compared with the trigger's, so pydantic puts the fault one level too high."""
_LONGEST_VALUE = 60
_WANTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "too_short": "must hold one entry at least",
    "string_too_short": "must not be empty",
    "dict_type": "must be a mapping (KEY: VALUE lines)",
    "model_type": "must be a mapping (KEY: VALUE lines)",
    "model_attributes_type": "must be a mapping (KEY: VALUE lines)",
}


def describe(error: ErrorDetails) -> tuple[Path, str]:
    """Where one of pydantic's errors stands, and its sentence: the path, what is wrong, how to mend it."""
    steps = tuple(step for step in error["loc"] if step != "[key]")
    kind = error["type"]
    path = steps if kind == "extra_forbidden" else _as_written(steps)
    if kind == "missing":
        return path, f"{dotted(path)}: is missing ({_purpose(path)})"
    if kind == "extra_forbidden":
        return path, f"{dotted(path)}: {_unknown(path)}"
    value = error["input"]
    if kind == "value_error" and path == _RESULTS and isinstance(value, dict):
        path, value = (*path, "topic"), value.get("topic")
    return path, f"{dotted(path)}: {_shown(value)}: {_reason(error)}"


def _as_written(steps: Iterable[str | int]) -> Path:
    """The path in the file's names: pydantic gives a default's fault the attribute's name."""
    path: Path = ()
    for step in steps:
        model = _model_at(path)
        field = model.model_fields.get(str(step)) if model else None
        path = (*path, field.alias if field and field.alias else step)
    return path


def dotted(path: Path) -> str:
    """The path as people write it: ``spec.predictor.scale.min``."""
    return ".".join(str(step) for step in path) or "the document"


def nearest(word: str, words: Iterable[str]) -> str:
    """The known word that ``word`` was perhaps meant to be; empty where none is near."""
    lower = {known.lower(): known for known in words}
    found = difflib.get_close_matches(word.lower().replace("_", ""), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else ""


def _unknown(path: Path) -> str:
    key, known = str(path[-1]), _keys_at(path[:-1])
    # A key that is right elsewhere is more likely misplaced than misspelt.
    home = next((".".join((*where, key)) for where, keys in _places() if key in keys), "")
    if home:
        return f"unknown key here; it belongs at {home}"
    if near := nearest(key, known):
        return f"unknown key; did you mean {near}?"
    return f"unknown key; known here: {', '.join(known) or 'none'}"


def _reason(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        choices = [str(choice) for choice in _choices(error)]
        near = nearest(str(error["input"]), choices)
        return f"must be {' or '.join(choices)}" + (f"; did you mean {near}?" if near and len(choices) > 1 else "")
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = context.get("ge", context.get("le"))
        shown = format_duration(bound) if isinstance(bound, timedelta) else bound
        return f"must be {shown} or {'more' if 'ge' in context else 'less'}"
    return _WANTED.get(kind, error["msg"]) + _quotes(kind, error["input"])


def _quotes(kind: str, value: object) -> str:
    """What YAML made of the value, where it is not what was meant."""
    if kind == "string_type" and isinstance(value, bool):
        return "; YAML reads yes, no, on and off as booleans: put the word in quotes"
    if kind == "string_type" and isinstance(value, int | float):
        return "; put the number in quotes"
    if kind == "int_type" and isinstance(value, str) and value.isdigit():
        return "; remove the quotes"
    return ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return str(value).lower()
    text = format_duration(value) if isinstance(value, timedelta) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _choices(error: ErrorDetails) -> tuple[Any, ...]:
    annotation = _annotation_at(tuple(error["loc"]))
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _purpose(path: Path) -> str:
    """The first sentence of the field's description, or its only value."""
    annotation = _annotation_at(path)
    if get_origin(annotation) is Literal:
        return f"write {path[-1]}: {get_args(annotation)[0]}"
    parent = _model_at(path[:-1])
    found = (
        [f.description for name, f in parent.model_fields.items() if (f.alias or name) == path[-1]] if parent else []
    )
    text = (found[0] if found else None) or "the app needs it"
    return " ".join(text.split(".")[0].split())


def _keys_at(path: Path) -> list[str]:
    model = _model_at(path)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _places() -> list[tuple[tuple[str, ...], list[str]]]:
    """Every mapping of the spec with its keys, the outermost first."""
    found: list[tuple[tuple[str, ...], list[str]]] = []
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        path = waiting.pop(0)
        keys = _keys_at(path)
        found.append((path, keys))
        waiting += [(*path, key) for key in keys if _model_at((*path, key))]
    return found


def _model_at(path: Path) -> type[BaseModel] | None:
    return _as_model(_annotation_at(path))


def _annotation_at(path: Path) -> object:
    """The declared type at ``path``, an optional one without its None; None where the spec has no such place."""
    annotation: object = InferenceApp
    for step in path:
        if get_origin(annotation) in (list, dict):
            annotation = _without_none(get_args(annotation)[-1])
            continue
        model = _as_model(annotation)
        fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
        if step not in fields:
            return None
        annotation = _without_none(fields[str(step)].annotation)
    return annotation


def _as_model(annotation: object) -> type[BaseModel] | None:
    # On Python 3.10 `dict[str, str]` is an instance of type, and no class to issubclass.
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _without_none(annotation: object) -> object:
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        return kept[0] if len(kept) == 1 else annotation
    return annotation
