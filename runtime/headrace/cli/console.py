"""Where commands print tables and trees."""

from __future__ import annotations

from rich.console import Console

WIDEST = 200
"""Columns that a line may take: a narrow terminal wraps it, where rich would cut it."""


def wide_console() -> Console:
    """A console on standard output that cuts nothing off."""
    console = Console(highlight=False)
    console.width = max(console.width, WIDEST)
    return console
