"""What the commands ask of a cluster: six methods, over HTTP or in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping

    from headrace.manifests.cluster.reference import Reference
    from headrace.manifests.resource import Resource

FIELD_MANAGER = "headrace"
"""Who owns the fields that Headrace applies (Kubernetes, Server-Side Apply)."""


@dataclass(frozen=True, slots=True)
class ApiKind:
    """One kind that a cluster serves."""

    kind: str
    plural: str
    """Its name in addresses and in roles."""
    namespaced: bool


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a cluster can do."""

    version: str
    """Of Kubernetes, such as ``1.34``."""
    groups: Mapping[str, tuple[str, ...]]
    """Every API group but the core, with its versions."""
    kinds: Mapping[tuple[str, str], ApiKind]
    """The kinds of the versions that were asked for, by apiVersion and kind."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which resources of one kind."""

    api_version: str
    kind: str
    namespace: str = ""
    """Empty: of all namespaces, or a kind that lives in none."""
    name: str = ""
    """One alone; empty for all."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that all of them have."""

    @classmethod
    def of(cls, reference: Reference) -> Query:
        """The one resource."""
        return cls(reference.api_version, reference.kind, reference.namespace, reference.name)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a query found, and as of when."""

    items: tuple[Resource, ...]
    version: str
    """The ``resourceVersion`` that a watch goes on from."""

    @property
    def first(self) -> Resource | None:
        """The only one where one was asked for by name."""
        return self.items[0] if self.items else None


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch."""

    what: Literal["added", "modified", "deleted", "bookmark"]
    resource: Resource
    """As it is now, or was last; of a bookmark, ``metadata.resourceVersion`` alone."""


@dataclass(frozen=True, slots=True)
class Access:
    """Something that one may be allowed to do."""

    verb: str
    group: str
    plural: str
    namespace: str = ""
    """Where; of a namespace, itself."""
    name: str = ""
    """Of one resource alone; empty for all."""


class ClusterApi(Protocol):
    """A cluster, as far as Headrace needs one.

    Every method raises ``UnavailableError`` where the cluster does not answer, ``RefusedError`` where it answers no,
    and ``ConfigurationError`` where the two do not trust or understand each other.
    """

    async def discover(self, api_versions: Collection[str]) -> Discovery:
        """The cluster's version and groups, and the kinds of these versions; versions not served are left out."""
        ...

    async def find(self, query: Query) -> Listing:
        """The resources of a query; none where there are none, also of a namespace that is not there."""
        ...

    def watch(self, query: Query, since: str) -> AsyncGenerator[Change, None]:
        """The changes of a query's resources after a version, until the cluster ends the watch.

        Raises:
            RefusedError: reason ``gone`` where the version is too old: find again, and watch from there.
        """
        ...

    async def apply(self, resource: Resource, *, force: bool = False, dry_run: bool = False) -> Resource:
        """Make the cluster's resource say what this one says, owned as ``headrace``; as it is, or would be, then.

        Raises:
            RefusedError: reason ``conflict`` where another manager owns a field that would change, unless ``force``.
        """
        ...

    async def delete(self, reference: Reference) -> bool:
        """Begin to delete a resource and what belongs to it; False where it is not there."""
        ...

    async def may(self, access: Access) -> bool:
        """Whether these credentials allow this."""
        ...
