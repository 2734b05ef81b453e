"""When a request to a predictor is sent again.

Only what was not answered is: no connection, or one that ended before a byte of the answer. What the predictor does
answer, 429 and 503 as well, is the caller's to act on: who retries at every hop multiplies the load at the last one.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.transformers.faults import PredictorUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0
"""Seconds; between the tries a random part of a wait that doubles (full jitter)."""


class NoAnswerError(PredictorUnavailableError):
    """Nothing came back: the same request may be sent again."""


@dataclass(slots=True)
class Budget:
    """How many retries a client may still make: a dead predictor must not be met by a multiple of the load."""

    ratio: float = 0.2
    """Retries that one request earns: a fifth more requests at most, in the long run."""
    most: float = 10.0
    """Retries that are saved up at most; as many are there at the start."""
    left: float = 10.0

    def earn(self) -> None:
        """A request is made."""
        self.left = min(self.most, self.left + self.ratio)

    def spend(self) -> bool:
        """Whether one more try may be made, which is then counted."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Retries:
    """The policy of one client.

    Args:
        most: Tries beside the first.
        budget: Shared by all requests of the client.
    """

    most: int
    budget: Budget

    async def run(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        """What ``attempt`` returns, made again while it gets no answer.

        Raises:
            NoAnswerError: the last try got none, or the budget is spent.
            HeadraceError: the predictor's own answer.
        """
        self.budget.earn()
        for number in range(self.most):
            try:
                return await attempt()
            except NoAnswerError:
                if not self.budget.spend():
                    raise
            longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2**number)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  # jitter needs no secrecy
        return await attempt()
