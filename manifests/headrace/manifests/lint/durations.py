"""Durations as Go and as ISO 8601 write them, in seconds."""

from __future__ import annotations

import re

_GO = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_ISO = re.compile(r"P(?!\Z)(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?\Z")
_ISO_SECONDS = (86_400.0, 3_600.0, 60.0, 1.0)


def go_seconds(value: object) -> float | None:
    """The seconds of ``30s`` or ``1h30m``; None for what Go does not read."""
    if value == "0":
        return 0.0
    if not isinstance(value, str) or not value or _GO.sub("", value):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _GO.findall(value))


def iso_seconds(value: object) -> float | None:
    """The seconds of ``PT5S`` or ``P1DT2H``; None for what is no ISO 8601 duration, or has years and months."""
    match = _ISO.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    return sum(float(part) * seconds for part, seconds in zip(match.groups(), _ISO_SECONDS, strict=True) if part)


def iso_of(value: object) -> str:
    """``PT5S`` for a Go duration ``5s`` or a number of seconds; nothing for anything else."""
    seconds = float(value) if isinstance(value, int) and not isinstance(value, bool) else go_seconds(value)
    return "" if seconds is None else f"PT{seconds:g}S"
