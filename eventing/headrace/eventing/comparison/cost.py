"""What answers cost: the seconds in which a replica was busy with them, at the price of its hour. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.telemetry.prices import ReplicaSize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.telemetry.prices import Prices

THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a replica is, and costs."""

    prices: Prices
    size: ReplicaSize = field(default_factory=ReplicaSize)
    """Of one replica."""
    replicas: int = 1
    app: str = ""
    """``NAMESPACE/NAME``, for prices of its own."""

    def cost(self, busy: float, answers: int) -> Cost:
        """The cost of so many seconds for so many answers."""
        amount = self.replicas * self.prices.cost(busy, self.size, self.app)
        return Cost(amount, amount / answers * THOUSAND if answers else 0.0, self.prices.currency)


@dataclass(frozen=True, slots=True)
class Cost:
    """Money for answers."""

    amount: float
    """For all of them."""
    per_thousand: float
    """For a thousand."""
    currency: str


def busy_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of the spans.

    Args:
        spans: Begin and end, in seconds.
    """
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
