"""Busy seconds -> the share of each piece of work, where pieces overlap.

At every moment the replica's second belongs to the pieces under way, in equal parts (processor sharing). With n(t)
pieces at the moment t, a piece that lasts from a to b gets the integral of 1/n(t) from a to b; all together get the
seconds in which there was any work, whatever overlaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Interval = tuple[float, float]
"""Begin and end on one clock."""


def shares(pieces: Sequence[Interval]) -> list[float]:
    """The seconds that each piece gets, in order; their sum is the length of the union of all."""
    marks = sorted(
        [(began, 1, at) for at, (began, ended) in enumerate(pieces) if ended > began]
        + [(ended, -1, at) for at, (began, ended) in enumerate(pieces) if ended > began]
    )
    got = [0.0] * len(pieces)
    opened = [0.0] * len(pieces)
    each, under_way, before = 0.0, 0, 0.0
    for moment, change, at in marks:
        if under_way:
            each += (moment - before) / under_way
        before = moment
        under_way += change
        if change > 0:
            opened[at] = each
        else:
            got[at] = each - opened[at]
    return got


def clipped(piece: Interval, within: Interval) -> Interval:
    """The part of ``piece`` that lies in ``within``; empty where none does."""
    began, ended = max(piece[0], within[0]), min(piece[1], within[1])
    return began, max(began, ended)
