"""Requests that one caller waits for together: one future for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Place:
    """Stands for a future, for one request of a group; belongs to the event loop."""

    __slots__ = ("_group", "_settled", "answer", "fault")

    def __init__(self, group: Group) -> None:
        self._group = group
        self._settled = False
        self.answer: Any = None
        self.fault: Exception | None = None

    def done(self) -> bool:
        """Whether there is an answer, or nobody waits for one any more."""
        return self._settled or self._group.future.done()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The group's loop."""
        return self._group.future.get_loop()

    def set_result(self, answer: Any) -> None:
        """The answer has come."""
        self.answer = answer
        self._settle()

    def set_exception(self, fault: Exception) -> None:
        """The request has failed; its neighbours go on."""
        self.fault = fault
        self._settle()

    def _settle(self) -> None:
        self._settled = True
        self._group.settled()


class Group:
    """As many places as a caller has requests.

    Args:
        future: Done when every place has its answer or its fault.
        size: How many.
    """

    def __init__(self, future: asyncio.Future[None], size: int) -> None:
        self.future = future
        self.places = [Place(self) for _ in range(size)]
        self._left = size

    def settled(self) -> None:
        """One more is."""
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result(None)
