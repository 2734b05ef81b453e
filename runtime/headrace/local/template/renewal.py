"""The template of a service over time: another one when the code has changed, the old one while a fork of it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.local.children import Child
    from headrace.local.commands import Command
    from headrace.local.template.template import Template


class Templates:
    """An :class:`~headrace.local.children.Origin` whose template can be made anew.

    Args:
        make: Makes a template, not yet opened.
    """

    def __init__(self, make: Callable[[], Template]) -> None:
        self._make = make
        self._current = make()
        self._retiring: set[asyncio.Future[None]] = set()

    @property
    def current(self) -> Template:
        """What replicas are forked from now."""
        return self._current

    async def open(self) -> None:
        """Start the template's process."""
        await self._current.open()

    async def renew(self) -> None:
        """Import the code anew; returns once that is done, or is known to fail.

        The old template stays until its last fork is gone: its end would be theirs.
        """
        old, self._current = self._current, self._make()
        await self._current.open()
        self._retiring.add(retiring := asyncio.ensure_future(old.retire()))
        retiring.add_done_callback(self._retiring.discard)
        await self._current.imported()

    async def start(self, command: Command, *, cwd: Path | None, output: int) -> Child:
        """See :meth:`Origin.start`."""
        return await self._current.start(command, cwd=cwd, output=output)

    async def close(self) -> None:
        """End every template."""
        await self._current.close()
        for retiring in tuple(self._retiring):
            retiring.cancel()
        if self._retiring:
            await asyncio.wait(self._retiring)
