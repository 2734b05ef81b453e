"""Several requests at once, and every answer or refusal of theirs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Found = TypeVar("Found")
Item = TypeVar("Item")
AT_ONCE = 8
"""Requests at once: a fortieth of what an API server lets all its callers have in flight."""


async def all_of(action: Callable[[Item], Awaitable[Found]], items: Iterable[Item]) -> list[Found | RefusedError]:
    """What the action gave or was refused for each item, in their order.

    Raises:
        HeadraceError: of another kind, such as a cluster that does not answer; the others are stopped first.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Item) -> Found | RefusedError:
        async with gate:
            try:
                return await action(item)
            except RefusedError as refused:
                return refused

    tasks = [asyncio.ensure_future(one(each)) for each in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
