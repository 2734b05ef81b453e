"""Durations and Kubernetes quantities: text to value and back, without loss.

``format_*(parse_*(text))`` names the same value as ``text``; ``parse_*(format_*(value))`` is ``value``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:us|ms|s|m|h))+\Z")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)")
_MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)\Z")
_SUFFIXES = {
    **{f"{letter}i": 1024**power for power, letter in enumerate("KMGTP", start=1)},
    **{letter: 1000**power for power, letter in enumerate("kMGTP", start=1)},
    "": 1,
}
_LONGEST = timedelta(days=365)
_LARGEST = 1 << 63
_MOST_CORES = 1000


def parse_duration(value: object) -> timedelta:
    """A duration written as Go and Knative write it: ``200ms``, ``5s``, ``1h30m``; a timedelta passes as it is.

    Raises:
        ValueError: no unit, an unknown unit, parts of a microsecond, or over a year.
    """
    if isinstance(value, timedelta):
        return value
    if value in ("0", 0) and not isinstance(value, bool):
        return timedelta()
    if not isinstance(value, str) or not _DURATION.match(value):
        raise ValueError("write a duration with its unit: 200ms, 5s, 5m, 1h or 1h30m")
    total = sum(Fraction(number) * _MICROSECONDS[unit] for number, unit in _PART.findall(value))
    if total.denominator != 1:
        raise ValueError("a duration has whole microseconds")
    if total > _LONGEST // timedelta(microseconds=1):
        raise ValueError("a duration is a year at most")
    return timedelta(microseconds=int(total))


def format_duration(value: timedelta) -> str:
    """The duration in its largest unit that divides it: ``90s``, not ``1m30s``; ``0s`` for none."""
    microseconds = value // timedelta(microseconds=1)
    for unit, size in _MICROSECONDS.items():
        if microseconds and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return "0s"


def parse_cpu(value: object) -> float:
    """Cores of ``2``, ``0.5`` or ``"500m"``, in thousandths at the finest.

    Raises:
        ValueError: not a positive number of cores, or finer than ``1m``.
    """
    text = _text_of(value)
    if text.endswith("m"):
        text, size = text[:-1], Fraction(1000)
    else:
        size = Fraction(1_000_000)
    if not re.match(r"[0-9]+(\.[0-9]+)?\Z", text):
        raise ValueError("write cores as 2, 0.5 or 500m")
    thousandths = Fraction(text) * size / 1000
    if thousandths.denominator != 1 or not 0 < thousandths <= _MOST_CORES * 1000:
        raise ValueError("cores go from 1m (a thousandth) to 1000, in steps of 1m")
    return int(thousandths) / 1000


def format_cpu(cores: float) -> str:
    """Cores as Kubernetes writes them: ``2``, or ``500m`` where they are not whole."""
    thousandths = round(cores * 1000)
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def parse_bytes(value: object) -> int:
    """Bytes of ``4Gi``, ``512M`` or a plain number.

    Raises:
        ValueError: not a positive quantity of whole bytes; ``m``, which means thousandths of a byte.
    """
    match = _QUANTITY.match(_text_of(value))
    if match and match[2] == "m":
        raise ValueError(f"'m' means thousandths of a byte; write {match[1]}Mi")
    if not match or match[2] not in _SUFFIXES:
        raise ValueError("write bytes as 512Mi, 4Gi, 2G or a plain number")
    size = Fraction(match[1]) * _SUFFIXES[match[2]]
    if size.denominator != 1 or not 0 < size < _LARGEST:
        raise ValueError("a quantity of bytes is positive and whole")
    return int(size)


def format_bytes(size: int) -> str:
    """Bytes in the largest suffix that divides them, binary ones first: ``4Gi``, ``500M``, ``1234``."""
    for suffix, unit in sorted(_SUFFIXES.items(), key=lambda item: (item[0].endswith("i"), item[1]), reverse=True):
        if size % unit == 0 and size:
            return f"{size // unit}{suffix}"
    return "0"


def _text_of(value: object) -> str:
    """The number or text as text; a boolean, which YAML makes of ``yes`` and ``on``, is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value)
