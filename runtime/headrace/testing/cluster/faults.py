"""Scripted troubles of the API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(slots=True)
class Fault:
    """An answer in place of the right one.

    Args:
        status: HTTP status; 0 drops the connection.
        times: How many requests get it.
        method: Only requests of this method; empty for all.
        path: Only requests whose path holds this.
        retry_after: Seconds in ``Retry-After``.
        after: How many such requests are answered rightly before.
    """

    status: int
    times: int = 1
    method: str = ""
    path: str = ""
    retry_after: int | None = None
    after: int = 0

    def takes(self, method: str, path: str) -> bool:
        """Whether this request gets it; counts it."""
        if self.times == 0 or (self.method and self.method != method) or self.path not in path:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


class Faults:
    """What goes wrong next, and what was asked for so far."""

    def __init__(self) -> None:
        self.script: list[Fault] = []
        """The first that takes a request is its answer."""
        self.seen: list[str] = []
        """``METHOD PATH`` of every request."""
        self._end = asyncio.Event()

    def next(self, method: str, path: str) -> Fault | None:
        """The fault for this request."""
        return next((each for each in self.script if each.takes(method, path)), None)

    def end_watches(self) -> None:
        """End every watch that runs, as the server does after its timeout."""
        self._end.set()
        self._end = asyncio.Event()

    async def watches_end(self) -> None:
        """Returns when the watches are ended."""
        await self._end.wait()
