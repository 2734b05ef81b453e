"""The name of one resource of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.manifests.resource import Resource


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """Type, namespace and name: what a resource is found by."""

    api_version: str
    kind: str
    namespace: str
    """Empty for what lives in no namespace."""
    name: str

    @classmethod
    def of(cls, resource: Resource) -> Reference:
        """The reference of a resource."""
        about = resource["metadata"]
        return cls(resource["apiVersion"], resource["kind"], about.get("namespace", ""), about["name"])

    @property
    def group(self) -> str:
        """The API group; empty for the core kinds."""
        return group_of(self.api_version)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What stays the same when a kind goes from one version to the next."""
        return self.group, self.kind, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def to_list(self) -> list[str]:
        """For JSON."""
        return [self.api_version, self.kind, self.namespace, self.name]


def group_of(api_version: str) -> str:
    """``apps`` of ``apps/v1``; nothing of ``v1``."""
    return api_version.rpartition("/")[0]
