"""Waiting in line for something: first come, first served, each with a deadline."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from headrace.errors import DeadlineExceededError, HeadraceError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Turns(Generic[T]):
    """Those that wait.

    Args:
        give_back: Takes what was handed to somebody who left in the same moment.
    """

    def __init__(self, give_back: Callable[[T], None]) -> None:
        self._give_back = give_back
        self._waiting: OrderedDict[asyncio.Future[T], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, within: float, late: str) -> T:
        """What it is handed when its turn comes.

        Raises:
            DeadlineExceededError: it did not come within so many seconds; ``late`` says of what.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[T] = loop.create_future()
        timer = loop.call_later(max(0.0, within), _time_out, turn, late)
        self._waiting[turn] = None
        try:
            return await turn
        except asyncio.CancelledError:
            # It may have been handed something in the very moment in which it left.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result())
            raise
        finally:
            timer.cancel()
            self._waiting.pop(turn, None)

    def hand(self, thing: T) -> None:
        """To the first; back where that one is gone and does not know yet."""
        turn = self._waiting.popitem(last=False)[0]
        if turn.done():
            self._give_back(thing)
        else:
            turn.set_result(thing)

    def refuse(self, fault: Callable[[], HeadraceError]) -> None:
        """Send everyone away, each with a fault of its own."""
        while self._waiting:
            turn = self._waiting.popitem(last=False)[0]
            if not turn.done():
                turn.set_exception(fault())


def _time_out(turn: asyncio.Future[T], late: str) -> None:
    if not turn.done():
        turn.set_exception(DeadlineExceededError(late))
