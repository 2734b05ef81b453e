"""A bound on what a label may say: a time series is made for each value, and callers must not make them at will."""

from __future__ import annotations

OTHER = "other"
"""What stands for every value beyond the bound."""


class Bounded:
    """Lets the first values through, and calls the rest ``other``.

    Args:
        most: How many values have a time series of their own in one process.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The value, or ``other``."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value
