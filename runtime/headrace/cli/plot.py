"""The curve of ``headrace status --plot``: replicas and requests of each service over time, as a PNG.

Drawn with Pillow, which the picture example has anyway: a step line and two axes need no plotting library (matplotlib
would bring 60 MB).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError, UnavailableError
from headrace.local.curve import steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from PIL import Image, ImageDraw

    from headrace.local.decisions import Decision

WIDTH, HEIGHT = 1200, 360
"""Pixels of one service's panel."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 70, 50, 45
_INK, _GRID, _PANIC = (40, 44, 52), (225, 228, 232), (255, 236, 224)
_ASKED, _READY, _REQUESTS = (0, 92, 175), (160, 205, 240), (214, 96, 20)
_LABELS = 6


def draw(services: Mapping[str, Sequence[Decision]], file: Path) -> None:
    """Write the PNG: one panel a service, in which the shaded time is panic.

    Raises:
        ConfigurationError: Pillow is missing, or the file has another ending.
        UnavailableError: the file cannot be written.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as fault:
        raise ConfigurationError("A plot needs Pillow", hint="pip install 'headrace[image]'") from fault
    if file.suffix.lower() != ".png":
        raise ConfigurationError(f"{file} is no .png", hint="a plot is written as PNG")
    image = Image.new("RGB", (WIDTH, HEIGHT * len(services)), "white")
    pen = ImageDraw.Draw(image)
    for position, (name, decisions) in enumerate(services.items()):
        _Panel(pen, name, decisions, position * HEIGHT).draw()
    _save(image, file)


def _save(image: Image.Image, file: Path) -> None:
    try:
        image.save(file)
    except OSError as fault:
        raise UnavailableError(f"Cannot write {file}: {fault}") from fault


class _Panel:
    def __init__(self, pen: ImageDraw.ImageDraw, name: str, decisions: Sequence[Decision], top: int) -> None:
        self._pen = pen
        self._name = name
        self._decisions = decisions
        self._top, self._floor = top + _TOP, top + HEIGHT - _BOTTOM
        self._begin = decisions[0].time
        self._seconds = max(1.0, decisions[-1].time - self._begin)
        self._most = max(1, *(max(each.asked, each.ready) for each in decisions))
        self._peak = max(1, *(each.current for each in decisions))

    def draw(self) -> None:
        self._shade_panic()
        self._axes()
        self._fill_ready()
        self._line([each.current / self._peak for each in self._decisions], _REQUESTS, 1)
        self._line([each.asked / self._most for each in self._decisions], _ASKED, 3)
        for step in steps(self._decisions):
            place = (self._x(step.time) + 4, self._y(step.asked / self._most) - 14)
            self._pen.text(place, str(step.asked), fill=_ASKED)

    def _x(self, time: float) -> float:
        return _LEFT + (time - self._begin) / self._seconds * (WIDTH - _LEFT - _RIGHT)

    def _y(self, share: float) -> float:
        return self._floor - share * (self._floor - self._top)

    def _spans(self) -> list[tuple[float, float, Decision]]:
        ends = [*(each.time for each in self._decisions[1:]), self._decisions[-1].time]
        return [(self._x(each.time), self._x(end), each) for each, end in zip(self._decisions, ends, strict=True)]

    def _shade_panic(self) -> None:
        for begin, end, each in self._spans():
            if each.panicking:
                self._pen.rectangle((begin, self._top, max(begin + 1, end), self._floor), fill=_PANIC)

    def _fill_ready(self) -> None:
        for begin, end, each in self._spans():
            if each.ready:
                top = self._y(each.ready / self._most)
                self._pen.rectangle((begin, top, max(begin + 1, end), self._floor - 1), fill=_READY)

    def _line(self, shares: Sequence[float], colour: tuple[int, int, int], width: int) -> None:
        points: list[tuple[float, float]] = []
        for (begin, end, _), share in zip(self._spans(), shares, strict=True):
            points += [(begin, self._y(share)), (end, self._y(share))]
        self._pen.line(points, fill=colour, width=width, joint="curve")

    def _axes(self) -> None:
        pen, right = self._pen, WIDTH - _RIGHT
        for level in range(0, self._most + 1, max(1, math.ceil(self._most / _LABELS))):
            height = self._y(level / self._most)
            pen.line((_LEFT, height, right, height), fill=_GRID)
            pen.text((_LEFT - 22, height - 6), f"{level}", fill=_ASKED)
        for part in range(_LABELS + 1):
            place, seconds = _LEFT + part / _LABELS * (right - _LEFT), part / _LABELS * self._seconds
            pen.text((place - 10, self._floor + 8), f"{seconds:.0f} s", fill=_INK)
        pen.text((right + 8, self._top - 6), f"{self._peak}", fill=_REQUESTS)
        pen.text((right + 8, self._floor - 6), "0", fill=_REQUESTS)
        target = f"target {self._decisions[-1].target:.4g} a replica"
        pen.text((_LEFT, self._top - 36), f"{self._name}, {target}", fill=_INK)
        words = (("replicas asked for", _ASKED), ("ready", _READY), ("requests", _REQUESTS), ("panic", _PANIC))
        for position, (word, colour) in enumerate(words):
            place = _LEFT + 150 * position
            pen.rectangle((place, self._top - 18, place + 12, self._top - 8), fill=colour)
            pen.text((place + 18, self._top - 20), word, fill=_INK)
