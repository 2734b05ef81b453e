"""Drawings of a report as SVG that stands in the page itself. Pure."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BARS = 24
WIDE = 100
"""Values that span more than this factor are drawn by their powers of ten."""
CELLS = 12
"""Classes that a matrix shows: those with the most flips."""
WIDTH = 600
HEIGHT = 110
CELL = 22
_LONGEST_LABEL = 20
_LETTER = 6


def histogram(values: Sequence[float], label: str) -> str:
    """How often values of each size come; empty where there is none."""
    return histograms([("", values)], label)


def histograms(sets: Sequence[tuple[str, Sequence[float]]], label: str) -> str:
    """The same of several sets over one axis, each in a colour of its own; a point on the bars tells how many."""
    finite = [(name, [value for value in values if math.isfinite(value)]) for name, values in sets]
    drawn = [(name, values) for name, values in finite if values]
    if not drawn:
        return ""
    ends = min(min(values) for _, values in drawn), max(max(values) for _, values in drawn)
    counts = [_counts(values, *ends) for _, values in drawn]
    top, step = max(map(max, counts)), WIDTH / BARS
    share = (step - 2) / len(drawn)
    bars = "".join(
        f'<rect class="set{place}" x="{bar * step + place * share:.1f}" y="{HEIGHT - 100 * count / top:.1f}" '
        f'width="{share:.1f}" height="{100 * count / top:.1f}"><title>{count}</title></rect>'
        for place, bars in enumerate(counts)
        for bar, count in enumerate(bars)
        if count
    )
    axis = (
        f'<text x="0" y="{HEIGHT + 15}">{ends[0]:.4g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 15}" text-anchor="end">{ends[1]:.4g}</text>'
    )
    legend = "".join(
        f'<text class="set{place}" x="{WIDTH / 2}" y="{12 + 14 * place}">{escape(name)}</text>'
        for place, (name, _) in enumerate(drawn)
        if name
    )
    head = f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img" aria-label="{escape(label)}">'
    return f"{head}{bars}{axis}{legend}</svg>"


def matrix(confusion: Mapping[tuple[str, str], int], names: tuple[str, str]) -> str:
    """Which class took the place of which, A's in rows and B's in columns; empty where none did."""
    if not confusion:
        return ""
    rows, columns = _most(confusion, 0), _most(confusion, 1)
    top, room = max(confusion.values()), 12 + _LETTER * max(len(_short(name)) for name in (*rows, *columns))
    cells = "".join(
        f'<rect class="cell" x="{room + x * CELL}" y="{room + y * CELL}" width="{CELL - 1}" height="{CELL - 1}" '
        f'opacity="{0.15 + 0.85 * count / top:.2f}"><title>{escape(f"{row} → {column}: {count}")}</title></rect>'
        f'<text class="count" x="{room + x * CELL + CELL / 2}" y="{room + y * CELL + 15}">{count}</text>'
        for y, row in enumerate(rows)
        for x, column in enumerate(columns)
        if (count := confusion.get((row, column), 0))
    )
    down = "".join(
        f'<text x="{room - 6}" y="{room + y * CELL + 15}" text-anchor="end">{_short(row)}</text>'
        for y, row in enumerate(rows)
    )
    across = "".join(
        f'<text transform="translate({room + x * CELL + 15} {room - 6}) rotate(-60)">{_short(column)}</text>'
        for x, column in enumerate(columns)
    )
    width, height = room + len(columns) * CELL + 80, room + len(rows) * CELL + 4
    told = escape(f"flips from {names[0]} to {names[1]}")
    style = f'style="height:{height / 16:.1f}rem" viewBox="0 0 {width} {height}"'
    return f'<svg class="matrix" {style} role="img" aria-label="{told}">{cells}{down}{across}</svg>'


def _most(confusion: Mapping[tuple[str, str], int], side: int) -> list[str]:
    totals: dict[str, int] = {}
    for flip, count in confusion.items():
        totals[flip[side]] = totals.get(flip[side], 0) + count
    return sorted(totals, key=lambda name: (-totals[name], name))[:CELLS]


def _counts(values: Sequence[float], low: float, high: float) -> list[int]:
    scale = _scale(low, high)
    width = (scale(high) - scale(low)) / BARS or 1.0
    counts = [0] * BARS
    for value in values:
        counts[min(BARS - 1, int((scale(value) - scale(low)) / width))] += 1
    return counts


def _scale(low: float, high: float) -> Callable[[float], float]:
    return math.log10 if low > 0 and high / low > WIDE else float


def _short(name: str) -> str:
    return escape(name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…")
