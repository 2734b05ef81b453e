"""Conditions that a comparison must meet: ``flips<0.5%, p99<200ms``. Pure."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.comparison.report import Report

_CONDITION = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=|<|>|=)\s*([0-9.]+(?:e-?[0-9]+)?)\s*(%|ms|s)?\s*\Z")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_UNITS = {"%": 0.01, "ms": 1.0, "s": 1000.0, "": 1.0}
METRICS: dict[str, Callable[[Report], float | None]] = {
    "flips": lambda r: r.share("flip"),
    "changed": lambda r: r.share("changed") + r.share("flip") + r.share("broken"),
    "broken": lambda r: r.share("broken"),
    "missing": lambda r: r.only[0] / (r.both + r.only[0]) if r.both + r.only[0] else 0.0,
    "top": lambda r: r.top / r.both if r.both else 0.0,
    "cosine": lambda r: r.cosine,
    "similarity": lambda r: r.similarity if r.similarity is not None or not r.both else 1.0,
    "difference": lambda r: r.most,
    "p50": lambda r: r.latency[1].p50,
    "p99": lambda r: r.latency[1].p99,
    "max": lambda r: r.latency[1].most,
    "cost": lambda r: r.cost_ratio,
    "rate": lambda r: r.latency[1].rate,
}
"""What can be asked. Shares (``flips``, ``changed``, ``broken``, ``top``) are of the events that both have answered,
``missing`` of those that A has; ``cosine`` and ``similarity`` are the smallest, ``difference`` the largest; the times
are B's, in milliseconds, ``rate`` its answers in a busy second, ``cost`` what an answer of B costs beside one of A."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One of them."""

    text: str
    metric: str
    compares: Callable[[float, float], bool]
    bound: float

    def met(self, report: Report) -> bool:
        """Whether the report meets it; what was not measured meets nothing."""
        value = METRICS[self.metric](report)
        return value is not None and self.compares(value, self.bound)

    def says(self, report: Report) -> str:
        """The condition, and what was found."""
        value = METRICS[self.metric](report)
        return f"{self.text}: {'not measured' if value is None else f'{value:.6g}'}"


def parse_gate(text: str) -> tuple[Condition, ...]:
    """The conditions, which commas part.

    Raises:
        ConfigurationError: one cannot be read, or asks for what there is not; all of them are named.
    """
    parts = [part for part in text.split(",") if part.strip()]
    found = [_condition(part) for part in parts]
    wrong = tuple(part for part in found if isinstance(part, str))
    if wrong or not found:
        raise ConfigurationError(
            f"--gate {text!r} cannot be read",
            problems=wrong,
            hint=f"write flips<0.5%, p99<200ms; it knows {', '.join(METRICS)}",
        )
    return tuple(part for part in found if isinstance(part, Condition))


def _condition(part: str) -> Condition | str:
    match = _CONDITION.match(part)
    if not match:
        return f"{part.strip()!r} is no condition"
    metric, sign, number, unit = match[1], match[2], match[3], match[4] or ""
    if metric not in METRICS:
        return f"{metric!r} is nothing that a comparison measures"
    return Condition(part.strip(), metric, _OPERATORS[sign], float(number) * _UNITS[unit])
