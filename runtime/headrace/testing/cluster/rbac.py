"""Role-based access control: who has no right by a role in the cluster is refused (Kubernetes RBAC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.cluster.api import Access
    from headrace.manifests.resource import Resource
    from headrace.testing.cluster.store import ClusterStore, Rule


def only_by_roles(store: ClusterStore, subject: str) -> Rule:
    """A rule for ``store.forbidden``: this user or group has what the roles bound to it give, and nothing else."""
    return lambda access: not any(_allows(rule, access) for rule in _rules(store, subject, access.namespace))


def _rules(store: ClusterStore, subject: str, namespace: str) -> Iterator[Resource]:
    for reference in store.references():
        if reference.kind not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        if reference.kind == "RoleBinding" and reference.namespace != namespace:
            continue
        binding = store.get(reference.kind, reference.name, reference.namespace) or {}
        if not any(each["name"] == subject for each in binding.get("subjects", [])):
            continue
        to = binding["roleRef"]
        role = store.get(to["kind"], to["name"], reference.namespace if to["kind"] == "Role" else "")
        yield from (role or {}).get("rules", [])


def _allows(rule: Resource, access: Access) -> bool:
    names = rule.get("resourceNames")
    return (
        _holds(rule["verbs"], access.verb)
        and _holds(rule["apiGroups"], access.group)
        and _holds(rule["resources"], access.plural)
        and (not names or access.name in names)
    )


def _holds(words: list[str], word: str) -> bool:
    return word in words or "*" in words
