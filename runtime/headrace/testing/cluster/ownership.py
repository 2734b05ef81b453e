"""Who owns which field, and what an apply does with that (Kubernetes, Server-Side Apply).

Simpler than the real thing in one point: a list has one owner as a whole, where a cluster keeps the items of some lists
apart by their keys.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.resource import Resource

Path = tuple[str, ...]
Owner = tuple[str, str]
"""Manager and operation: ``Apply`` or ``Update``."""
Owners = dict[Owner, frozenset[Path]]

_NOBODYS = frozenset(
    {
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
        "deletionTimestamp",
    }
)  # fmt: skip
"""Metadata that the server alone writes, or that names the object."""


def fields(resource: Resource) -> dict[Path, Any]:
    """The values that somebody can own, by their path."""
    found: dict[Path, Any] = {}
    for key, value in resource.items():
        if key == "metadata":
            for name, inner in value.items():
                if name not in _NOBODYS:
                    found |= dict(_leaves(inner, (key, name)))
        elif key not in ("apiVersion", "kind"):
            found |= dict(_leaves(value, (key,)))
    return found


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


def conflicts(live: Resource, owners: Owners, wanted: dict[Path, Any], manager: str) -> list[tuple[str, Path]]:
    """Manager and path of each field of others that the wanted values would change."""
    now = fields(live)
    return [
        (owner, path)
        for (owner, operation), paths in owners.items()
        if (owner, operation) != (manager, "Apply")
        for path in sorted(paths & wanted.keys())
        if now.get(path) != wanted[path]
    ]


def applied(live: Resource, owners: Owners, wanted: dict[Path, Any], manager: str) -> tuple[Resource, Owners]:
    """The object and its owners after an apply whose conflicts are settled: what is no longer wanted goes."""
    mine: Owner = (manager, "Apply")
    changed, now = deepcopy(live), fields(live)
    others = {
        owner: frozenset(path for path in paths if path not in wanted or now.get(path) == wanted[path])
        for owner, paths in owners.items()
        if owner != mine
    }
    held = frozenset().union(*others.values()) if others else frozenset()
    for path in owners.get(mine, frozenset()) - wanted.keys() - held:
        _remove(changed, path)
    for path, value in wanted.items():
        _set(changed, path, value)
    return changed, {owner: paths for owner, paths in others.items() if paths} | {mine: frozenset(wanted)}


def updated(live: Resource, owners: Owners, values: dict[Path, Any], manager: str) -> tuple[Resource, Owners]:
    """The object and its owners after somebody wrote these values without asking."""
    changed, now = deepcopy(live), fields(live)
    written = frozenset(path for path, value in values.items() if now.get(path) != value)
    for path in written:
        _set(changed, path, values[path])
    mine: Owner = (manager, "Update")
    found = {owner: paths - written for owner, paths in owners.items()}
    found[mine] = found.get(mine, frozenset()) | written
    return changed, {owner: paths for owner, paths in found.items() if paths}


def managed_fields(api_version: str, owners: Owners) -> list[Resource]:
    """``metadata.managedFields``."""
    return [
        {
            "manager": manager,
            "operation": operation,
            "apiVersion": api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(paths),
        }
        for (manager, operation), paths in sorted(owners.items())
    ]


def _tree(paths: frozenset[Path]) -> Resource:
    tree: Resource = {}
    for path in sorted(paths):
        at = tree
        for name in path:
            at = at.setdefault(f"f:{name}", {})
    return tree


def _set(value: Resource, path: Path, new: Any) -> None:
    for name in path[:-1]:
        inner = value.get(name)
        if not isinstance(inner, dict):
            inner = value[name] = {}
        value = inner
    value[path[-1]] = deepcopy(new)


def _remove(value: Resource, path: Path) -> None:
    """Remove a field, and the mappings that it leaves empty."""
    trail = [value]
    for name in path[:-1]:
        inner = trail[-1].get(name)
        if not isinstance(inner, dict):
            return
        trail.append(inner)
    trail[-1].pop(path[-1], None)
    for outer, name in zip(reversed(trail[:-1]), reversed(path[:-1]), strict=True):
        if outer[name] or outer is value:
            return
        del outer[name]
