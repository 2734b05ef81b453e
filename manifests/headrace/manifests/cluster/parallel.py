"""Several requests at once, and every answer or refusal of theirs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

Found = TypeVar("Found")
AT_ONCE = 8
"""Requests at once: a fortieth of what an API server lets all its callers have in flight."""


async def all_of(actions: Iterable[Awaitable[Found]]) -> list[Found | RefusedError]:
    """What each action gave or was refused, in their order.

    Raises:
        HeadraceError: of another kind, such as a cluster that does not answer; the others are stopped first.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(action: Awaitable[Found]) -> Found | RefusedError:
        async with gate:
            try:
                return await action
            except RefusedError as refused:
                return refused

    tasks = [asyncio.ensure_future(one(each)) for each in actions]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
