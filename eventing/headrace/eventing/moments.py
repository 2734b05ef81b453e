"""Moments in time as events write them."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_FRACTION = re.compile(r"\.\d+")


def moment_of(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, fractions dropped; None where it is none. Without an offset: UTC."""
    # Python 3.10 reads neither a Z nor fractions of any length: the fraction goes, a second more or less is no matter.
    plain = _FRACTION.sub("", text.strip().upper().replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)).timestamp()
