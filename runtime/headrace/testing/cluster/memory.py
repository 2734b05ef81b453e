"""A cluster without a network: ``ClusterApi`` straight on the store."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from headrace.manifests.cluster.api import FIELD_MANAGER, Change, Discovery, Listing
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError, refusal
from headrace.testing.cluster.kinds import groups_of
from headrace.testing.cluster.store import StatusError, selected
from headrace.testing.cluster.watching import events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from headrace.manifests.cluster.api import Access, Query
    from headrace.manifests.resource import Resource
    from headrace.testing.cluster.store import ClusterStore

_CHANGES: dict[str, Literal["added", "modified", "deleted"]] = {
    "ADDED": "added",
    "MODIFIED": "modified",
    "DELETED": "deleted",
}


class MemoryCluster:
    """Implements ``ClusterApi``.

    Args:
        store: What is in the cluster.
    """

    def __init__(self, store: ClusterStore) -> None:
        self.store = store

    async def discover(self, api_versions: Collection[str]) -> Discovery:
        """Implements ``ClusterApi``."""
        kinds = {key: kind for key, kind in self.store.kinds.items() if key[0] in api_versions}
        return Discovery(self.store.version, groups_of(self.store.kinds), kinds)

    async def find(self, query: Query) -> Listing:
        """Implements ``ClusterApi``."""
        self._known(query.api_version, query.kind)
        try:
            items = tuple(self.store.find(query))
        except StatusError as fault:
            raise refusal(fault.status, fault.body, query.kind) from None
        if query.name:
            return Listing(items, items[0]["metadata"]["resourceVersion"] if items else "0")
        return Listing(items, str(self.store.clock))

    async def watch(self, query: Query, since: str) -> AsyncGenerator[Change, None]:
        """Implements ``ClusterApi``; the store never ends a watch."""
        kind = self._known(query.api_version, query.kind)
        try:
            self.store.allow("watch", Reference(query.api_version, "", "", "").group, kind, query.namespace)
            async with aclosing(events(self.store, int(since))) as stream:
                async for told in stream:
                    if selected(told.resource, query):
                        yield Change(_CHANGES[told.what], told.resource)
        except StatusError as fault:
            raise refusal(fault.status, fault.body, query.kind) from None

    async def apply(self, resource: Resource, *, force: bool = False, dry_run: bool = False) -> Resource:
        """Implements ``ClusterApi``."""
        to = Reference.of(resource)
        self._known(to.api_version, to.kind)
        try:
            return self.store.apply(resource, FIELD_MANAGER, force=force, dry_run=dry_run)[0]
        except StatusError as fault:
            raise refusal(fault.status, fault.body, str(to)) from None

    async def delete(self, reference: Reference) -> bool:
        """Implements ``ClusterApi``."""
        self._known(reference.api_version, reference.kind)
        try:
            self.store.delete(reference)
        except StatusError as fault:
            if fault.status == 404:  # noqa: PLR2004  # HTTP's word for absent
                return False
            raise refusal(fault.status, fault.body, str(reference)) from None
        return True

    async def may(self, access: Access) -> bool:
        """Implements ``ClusterApi``."""
        return not self.store.denies(access)

    def _known(self, api_version: str, kind: str) -> str:
        found = self.store.kinds.get((api_version, kind))
        if found is None:
            raise RefusedError(f"The cluster has no kind {kind} in {api_version}", reason="unknown-kind")
        return found.plural
