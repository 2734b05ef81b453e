"""Knative's autoscaling annotations, checked as its webhook checks them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from headrace.local.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "autoscaling.knative.dev/"
HOUR = 3600.0


class Annotations:
    """Values by their name after ``autoscaling.knative.dev/``; the older names in camel case count too.

    Args:
        place: The annotations, as a mapping.
        prefix: What stands before each name.
    """

    def __init__(self, place: Place, prefix: str = PREFIX) -> None:
        self._place = place
        self._prefix = prefix

    def at(self, name: str) -> Place:
        """The place of a value; its value is None where there is none."""
        place = self._place.at(self._prefix + name)
        older = self._place.at(self._prefix + re.sub("-(.)", lambda found: found[1].upper(), name))
        return older if place.value is None and older.value is not None else place

    def whole(self, name: str, default: int, *, least: int = 0) -> int:
        """A whole number of ``least`` or more."""
        place = self.at(name)
        if place.value is None:
            return default
        if re.fullmatch(r"\d+", str(place.value)) and int(place.value) >= least:
            return int(place.value)
        place.fault(f"is {place.value!r}, not a whole number of {least} or more")
        return default

    def number(
        self, name: str, default: float, *, least: float, most: float = math.inf, also: float = math.nan
    ) -> float:
        """A number within bounds, or the one value ``also`` outside of them."""
        place = self.at(name)
        if place.value is None:
            return default
        found = _number(place.value)
        if found is not None and (least <= found <= most or found == also):
            return found
        until = "" if most == math.inf else f" to {most:g}"
        place.fault(f"is {place.value!r}, not a number from {least:g}{until or ' on'}")
        return default

    def seconds(self, name: str, default: float, *, least: float = 0.0, whole: bool = False) -> float:
        """A duration up to an hour, in seconds; ``whole`` refuses fractions of one."""
        place = self.at(name)
        if place.value is None:
            return default
        before = len(place.problems)
        found = Place(place.path, {"": place.value}, place.problems).seconds("", default)
        if len(place.problems) > before:
            place.problems[before:] = [f"{place.path} is {place.value!r}, not a duration such as '90s' or '1m30s'"]
            return default
        if not least <= found <= HOUR or (whole and found != int(found)):
            unit = "whole seconds" if whole else "a duration"
            place.fault(f"is {place.value!r}, not {unit} from {least:g}s to 1h")
            return default
        return found

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """One of some words."""
        place = self.at(name)
        if place.value is None:
            return default
        if place.value in choices:
            return str(place.value)
        place.fault(f"is {place.value!r}, not one of {', '.join(choices)}")
        return default

    def flag(self, name: str, *, default: bool) -> bool:
        """``true`` or ``false``."""
        text = self.choice(name, str(default).lower(), ("true", "false"))
        return text == "true"


def _number(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
