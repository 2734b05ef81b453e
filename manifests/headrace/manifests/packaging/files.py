"""Resources as files: their names, and their text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.manifests.resource import Resource

Files = dict[str, str]
"""Text by path, relative and with ``/``."""
Identity = tuple[str, str, str, str]
"""API group, kind, namespace (empty for what belongs to the cluster) and name: no two resources share it."""


def identity(resource: Resource) -> Identity:
    """What a cluster knows the resource by."""
    about = resource["metadata"]
    group = str(resource["apiVersion"]).rpartition("/")[0]
    return group, str(resource["kind"]), str(about.get("namespace", "")), str(about["name"])


def file_name(resource: Resource) -> str:
    """NAMESPACE.KIND.NAME.yaml; ``cluster`` stands for the namespace of what has none."""
    _, kind, namespace, name = identity(resource)
    return f"{namespace or 'cluster'}.{kind.lower()}.{name}.yaml"


def plain(resources: Sequence[Resource]) -> Files:
    """One file a resource."""
    return {file_name(each): to_yaml([each]) for each in resources}
