"""Whether a resource in the cluster already says all that a manifest says: pure."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[kMGTP]|[KMGTP]i)?\Z")
_UNITS = {
    "m": Fraction(1, 1000),
    **{letter: Fraction(1000) ** power for power, letter in enumerate("kMGTP", start=1)},
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTP", start=1)},
}


def says(live: Any, wanted: Any) -> bool:
    """Whether every value of a manifest is in the live resource, which may hold more keys, but no longer lists.

    Quantities are compared as amounts, since the API server writes them in its own way: ``4096Mi`` as ``4Gi``.
    """
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and says(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(live, list) and len(live) == len(wanted)
        return same and all(says(one, other) for one, other in zip(live, wanted, strict=True))
    if live == wanted:
        return True
    amount = _amount(wanted)
    return amount is not None and amount == _amount(live)


def _amount(value: Any) -> Fraction | None:
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    return Fraction(match[1]) * _UNITS.get(match[2], 1) if match else None
