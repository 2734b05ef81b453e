"""A kustomize base with the apps as they are, and an overlay a profile: what it adds, and patches of what it changes.

An overlay built by ``kubectl kustomize`` holds the very resources that ``headrace render --profile`` prints. Patches
are JSON patches (RFC 6902): they mean the same for custom resources, of which kustomize knows no schema.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from headrace.manifests.packaging.files import Files, file_name, identity
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headrace.manifests.packaging.files import Identity
    from headrace.manifests.resource import Resource

_KIND = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
_POINTER = str.maketrans({"~": "~0", "/": "~1"})


def kustomize(base: Sequence[Resource], overlays: Mapping[str, Sequence[Resource]]) -> Files:
    """The files of base and overlays; ``overlays`` has the resources under each profile."""
    files = {f"base/{file_name(each)}": to_yaml([each]) for each in base}
    files["base/kustomization.yaml"] = to_yaml([{**_KIND, "resources": [file_name(each) for each in base]}])
    for name, resources in overlays.items():
        files.update({f"overlays/{name}/{path}": text for path, text in _overlay(base, resources).items()})
    return files


def json_patch(old: Any, new: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """The operations that make ``new`` of ``old``; a list that differs is replaced as a whole."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        if not _same(old, new):
            yield {"op": "replace", "path": path, "value": new}
        return
    for key, value in old.items():
        place = f"{path}/{str(key).translate(_POINTER)}"
        if key in new:
            yield from json_patch(value, new[key], place)
        else:
            yield {"op": "remove", "path": place}
    for key, value in new.items():
        if key not in old:
            yield {"op": "add", "path": f"{path}/{str(key).translate(_POINTER)}", "value": value}


def _same(old: Any, new: Any) -> bool:
    """Whether the two are the same in YAML; to Python, False is 0 and 1 is 1.0, however deep they stand."""
    return orjson.dumps(old, option=orjson.OPT_SORT_KEYS) == orjson.dumps(new, option=orjson.OPT_SORT_KEYS)


def _overlay(base: Sequence[Resource], wanted: Sequence[Resource]) -> Files:
    before = {identity(each): each for each in base}
    after = {identity(each): each for each in wanted}
    files: Files = {}
    patches: list[dict[str, Any]] = []
    for key, resource in before.items():
        name = f"patch.{file_name(resource)}"
        if key not in after:
            files[name] = to_yaml([_removal(resource)])
            patches.append({"path": name})
        elif operations := list(json_patch(resource, after[key])):
            files[name] = _list_text(operations)
            patches.append({"path": name, "target": _target(resource, key)})
    added = [each for key, each in after.items() if key not in before]
    files.update({file_name(each): to_yaml([each]) for each in added})
    top: dict[str, Any] = {**_KIND, "resources": ["../../base", *(file_name(each) for each in added)]}
    files["kustomization.yaml"] = to_yaml([{**top, **({"patches": patches} if patches else {})}])
    return files


def _target(resource: Resource, key: Identity) -> dict[str, str]:
    group, kind, namespace, name = key
    version = str(resource["apiVersion"]).rpartition("/")[2]
    # Names are regular expressions here: a topic's dots would match other names too.
    place = {"name": re.escape(name).replace(r"\-", "-"), **({"namespace": namespace} if namespace else {})}
    return {**({"group": group} if group else {}), "version": version, "kind": kind, **place}


def _removal(resource: Resource) -> Resource:
    _, _, namespace, name = identity(resource)
    about = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"$patch": "delete", "apiVersion": resource["apiVersion"], "kind": resource["kind"], "metadata": about}


def _list_text(operations: Sequence[Mapping[str, Any]]) -> str:
    """A YAML list: each operation as a document of its own, indented below a dash."""
    texts = (to_yaml([each]).rstrip("\n").split("\n") for each in operations)
    lines = [f"{'- ' if number == 0 else '  '}{line}".rstrip() for text in texts for number, line in enumerate(text)]
    return "\n".join(lines) + "\n"
