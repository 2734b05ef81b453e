"""Reading parsed YAML of a known shape, with every fault collected under its resource and path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a resource. Reading something wrong notes a fault and goes on with a neutral value."""

    path: str
    """As people write it: ``InferenceService vision/labels: spec.predictor``."""
    value: Any
    problems: list[str]
    """Shared by all places of one reading."""

    def fault(self, what: str) -> None:
        """Note that something is wrong here."""
        self.problems.append(f"{self.path} {what}")

    def at(self, key: str) -> Place:
        """The place under ``key``, whatever is there; its value is None where nothing is."""
        value = self.value.get(key) if isinstance(self.value, dict) else None
        return Place(f"{self.path}{'' if self.path.endswith(': ') else '.'}{key}", value, self.problems)

    def replaced(self, value: Any, key: str) -> Place:
        """The place under ``key`` as if ``value`` stood there."""
        return Place(self.at(key).path, value, self.problems)

    def mapping(self, key: str, *, required: bool = False) -> Place:
        """The mapping under ``key``; empty where there is none."""
        return self._typed(key, dict, "a mapping", {}, required=required)

    def items(self, key: str, *, required: bool = False) -> list[Place]:
        """The members of the list under ``key``."""
        place = self._typed(key, list, "a list", [], required=required)
        return [
            Place(f"{place.path}[{position}]", item, self.problems)
            for position, item in enumerate(place.value)
            if _is_mapping(place, position, item)
        ]

    def text(self, key: str, default: str | None = None) -> str:
        """The text under ``key``; required without a default. Numbers are taken as YAML wrote them."""
        place = self.at(key)
        if place.value is None:
            if default is None:
                place.fault("is missing")
            return default or ""
        if isinstance(place.value, str | int | float) and not isinstance(place.value, bool):
            return str(place.value)
        place.fault(f"is {place.value!r}, not a text")
        return default or ""

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts under ``key``."""
        place = self._typed(key, list, "a list", [], required=False)
        for position, item in enumerate(place.value):
            if not isinstance(item, str):
                self.problems.append(f"{place.path}[{position}] is {item!r}, not a text (quote it)")
        return tuple(str(item) for item in place.value)

    def whole(self, key: str, default: int) -> int:
        """The whole number, 0 or more, under ``key``; text of digits counts, as annotations have it."""
        place = self.at(key)
        if place.value is None:
            return default
        if re.fullmatch(r"\d+", str(place.value)):
            return int(place.value)
        place.fault(f"is {place.value!r}, not a whole number of 0 or more")
        return default

    def number(self, key: str, default: float) -> float:
        """The number above 0 under ``key``; text counts, as annotations have it."""
        place = self.at(key)
        if place.value is None:
            return default
        if re.fullmatch(r"\d+(\.\d+)?", str(place.value)) and float(place.value) > 0:
            return float(place.value)
        place.fault(f"is {place.value!r}, not a number above 0")
        return default

    def seconds(self, key: str, default: float) -> float:
        """The duration under ``key`` (Go's notation: ``1m30s``) in seconds."""
        place = self.at(key)
        if place.value is None:
            return default
        text = str(place.value)
        parts = _GO_DURATION.findall(text)
        if text == "0" or (parts and "".join(number + unit for number, unit in parts) == text):
            return sum(float(number) * _SECONDS[unit] for number, unit in parts)
        place.fault(f"is {place.value!r}, not a duration such as '90s' or '1m30s'")
        return default

    def _typed(self, key: str, kind: type, name: str, neutral: Any, *, required: bool) -> Place:
        place = self.at(key)
        if isinstance(place.value, kind):
            return place
        if place.value is not None:
            place.fault(f"is {place.value!r}, not {name}")
        elif required:
            place.fault("is missing")
        return Place(place.path, neutral, self.problems)


def _is_mapping(place: Place, position: int, item: Any) -> bool:
    if isinstance(item, dict):
        return True
    place.problems.append(f"{place.path}[{position}] is {item!r}, not a mapping")
    return False
