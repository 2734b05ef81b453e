"""Paused: nothing new goes to the app, what is under way is finished, and the dispatcher stays in its group."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class Valve:
    """Lets events pass, or holds them back; owned by one event loop.

    Args:
        closed: Whether the app is paused; asked by :meth:`look`, several times a second.
    """

    def __init__(self, closed: Callable[[], bool]) -> None:
        self._closed = closed
        self._open = asyncio.Event()
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether events pass."""
        return self._open.is_set()

    def look(self) -> None:
        """Ask whether the app is paused now."""
        closed = self._closed()
        if closed and self.is_open:
            _log.info("paused: what is under way is finished, and nothing new begins")
            self._open.clear()
        elif not closed and not self.is_open:
            _log.info("resumed")
            self._open.set()

    async def passed(self) -> None:
        """Wait until events pass."""
        await self._open.wait()
