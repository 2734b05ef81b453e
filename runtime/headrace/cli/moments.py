"""Times and rates as a user writes them on the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from headrace.errors import ConfigurationError

_DAYS = re.compile(r"([0-9]+)d(.*)\Z")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/(s|m|h))?\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def span(text: str, flag: str) -> timedelta:
    """A length of time: ``90s``, ``10m``, ``1h30m``, ``2d``.

    Raises:
        ConfigurationError: it is none; the message names the flag.
    """
    from headrace.manifests.quantity import parse_duration

    days = _DAYS.match(text)
    rest = days[2] if days else text
    try:
        return timedelta(days=int(days[1]) if days else 0) + (parse_duration(rest) if rest or not days else timedelta())
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{flag} {text!r} is no length of time", hint="write 90s, 10m, 2h or 1d") from None


def moment(text: str | None, flag: str, *, now: datetime | None = None) -> datetime | None:
    """A point in time: so long before now, or a time of RFC 3339; None for none.

    Raises:
        ConfigurationError: it is neither; the message names the flag.
    """
    if text is None:
        return None
    try:
        # Before Python 3.11, fromisoformat does not read the Z.
        told = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        try:
            return (now or datetime.now(timezone.utc)) - span(text, flag)
        except (ConfigurationError, OverflowError):
            raise ConfigurationError(
                f"{flag} {text!r} is no time", hint="write 10m, 2h or 1d for so long ago, or 2026-01-31T10:00:00Z"
            ) from None
    return told if told.tzinfo else told.replace(tzinfo=timezone.utc)


def rate(text: str, flag: str) -> float:
    """Things a second: ``10``, ``10/s``, ``600/m``.

    Raises:
        ConfigurationError: it is no rate over zero; the message names the flag.
    """
    found = _RATE.match(text)
    if not found or not float(found[1]):
        raise ConfigurationError(f"{flag} {text!r} is no rate", hint="write 10/s or 600/m")
    return float(found[1]) / _SECONDS[found[2] or "s"]
