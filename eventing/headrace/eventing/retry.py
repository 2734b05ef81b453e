"""When to try again, as values (event contract, section 4)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from headrace.eventing.sink import Reply

_RETRIABLE = frozenset({404, 408, 409, 429})
SERVER_ERROR = 500


def is_retriable(status: int) -> bool:
    """Whether an answer of this HTTP status is worth another attempt: 5xx, 404, 408, 409 and 429, as Knative's."""
    return status >= SERVER_ERROR or status in _RETRIABLE


def retry_after(reply: Reply) -> float | None:
    """Seconds of the reply's ``Retry-After`` (RFC 9110, section 10.2.3), a number or a date; None where it has none."""
    text = reply.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:  # "-0000", which says that nobody knows the zone
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast an event is tried."""

    attempts: int = 5
    """All attempts, the first among them."""
    backoff: Literal["exponential", "linear"] = "exponential"
    delay: float = 0.2
    """Seconds: the upper bound of the first wait."""
    max_delay: float = 30.0
    """Seconds: no wait is longer, whatever the attempt; a ``Retry-After`` may be."""

    def bound(self, failed: int) -> float:
        """The longest wait, in seconds, after this many failed attempts (from 1)."""
        growth = float(failed) if self.backoff == "linear" else 2.0 ** min(failed - 1, 62)
        return min(self.delay * growth, self.max_delay)

    def wait(self, failed: int, *, retry_after: float | None = None, chance: float | None = None) -> float:
        """Seconds to wait after this many failed attempts.

        Full jitter: anything between nothing and the bound, so that events that failed together do not come back
        together. What the receiver asked for by ``Retry-After`` is the least.

        Args:
            failed: Attempts that failed so far, from 1.
            retry_after: Seconds the receiver asked for.
            chance: The random number in [0, 1] to use; drawn where None.
        """
        share = random.random() if chance is None else chance  # noqa: S311  # jitter, no secret
        return max(self.bound(failed) * share, retry_after or 0.0)
