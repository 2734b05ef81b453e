"""The stream of changes that a watch is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.testing.cluster.store import StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headrace.testing.cluster.store import ClusterStore, Told


async def events(store: ClusterStore, since: int) -> AsyncGenerator[Told, None]:
    """Everything told after a version, as it is told.

    Raises:
        StatusError: 410, where the history from there on is no longer whole.
    """
    while True:
        changed = store.changed
        if since < store.oldest:
            raise StatusError(410, "Expired", f"too old resource version: {since} ({store.oldest})")
        for told in [each for each in store.told if each.version > since]:
            since = told.version
            yield told
        if changed is store.changed:
            await changed.wait()
