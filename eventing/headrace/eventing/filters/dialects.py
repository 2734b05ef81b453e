"""Filters of the CloudEvents Subscriptions API (section 3.2.4), as Knative's Trigger has them in ``filters``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.eventing.filters.conditions import All, AnyOf, Attributes, Cesql, Not
from headrace.eventing.filters.fault import FilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headrace.eventing.filters.verdict import Filter

DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "cesql")
"""Every dialect, as Knative's Trigger calls them."""
DEEPEST = 32
"""Filters inside filters, in all: each costs frames of Python's stack when an event is looked at."""
_NAME = re.compile(r"[a-z0-9]+\Z")


def compile_filter(expression: str) -> Filter:
    """The filter that a CESQL expression is (CloudEvents SQL 1.0).

    Raises:
        FilterError: with the place in the expression: it is no CESQL, calls a function that does not exist, always
            ends in an error, or gives no boolean.
    """
    # The parser is a library of its own: who has no expression need not load it.
    from headrace.eventing.filters.cesql import compile_predicate  # noqa: PLC0415  # brings the grammar: only where asked

    return Cesql(compile_predicate(expression))


def compile_filters(filters: Sequence[Mapping[str, object]]) -> Filter:
    """The filter that a list of dialects is: all must say yes, so that an empty list lets every event through.

    Raises:
        FilterError: ``problems`` names every mistake by its path, such as ``1.exact.Type``.
    """
    problems: list[str] = []
    found = [_filter(each, _Place(str(number), problems)) for number, each in enumerate(filters)]
    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise FilterError(f"the filters have {count}", problems=tuple(problems))
    compiled = tuple(each for each in found if each)
    return compiled[0] if len(compiled) == 1 else All(compiled)


def attribute_faults(name: object, value: object) -> Iterator[str]:
    """What is wrong with an attribute and the value it is compared with (CloudEvents, naming conventions)."""
    if not isinstance(name, str) or not _NAME.match(name):
        yield "an attribute's name has lower-case letters and digits alone"
    if not isinstance(value, str):
        yield "attributes are text; put the value in quotes"
    elif not value:
        yield "an empty value is not allowed; for whether an attribute is there, write cesql: EXISTS NAME"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a filter stands, and the list of every mistake so far."""

    path: str
    problems: list[str]
    depth: int = 1

    def inner(self, step: str | int, *, deeper: int = 0) -> _Place:
        return _Place(f"{self.path}.{step}", self.problems, self.depth + deeper)

    def refuse(self, why: str) -> Filter | None:
        """Note the mistake; there is no filter then."""
        self.problems.append(f"{self.path}: {why}")
        return None


def _filter(value: object, place: _Place) -> Filter | None:
    """One filter; None where it is wrong, which the place's problems say then."""
    if place.depth > DEEPEST:
        return place.refuse(f"more than {DEEPEST} filters inside each other; write them flatter, or as one cesql")
    if not isinstance(value, Mapping) or len(value) != 1:
        return place.refuse("a filter is one dialect, such as {exact: {type: com.example.word}}")
    ((dialect, rule),) = value.items()
    if dialect not in _READERS:
        return place.inner(dialect).refuse(f"there is no such dialect; known are {', '.join(DIALECTS)}")
    return _READERS[dialect](dialect, rule, place.inner(dialect))


def _attributes(dialect: str, rule: object, place: _Place) -> Filter | None:
    if not isinstance(rule, Mapping) or not rule:
        return place.refuse("name attributes and their values, such as type: com.example.word")
    wrong = [(name, why) for name, value in rule.items() for why in attribute_faults(name, value)]
    for name, why in wrong:
        place.inner(name).refuse(why)
    return None if wrong else Attributes(dialect, tuple(rule.items()))


def _several(dialect: str, rule: object, place: _Place) -> Filter | None:
    if not isinstance(rule, list | tuple) or not rule:
        return place.refuse("write a list with one filter at least")
    inner = [_filter(each, place.inner(number, deeper=1)) for number, each in enumerate(rule)]
    sound = tuple(each for each in inner if each)
    if len(sound) < len(inner):
        return None
    return All(sound) if dialect == "all" else AnyOf(sound)


def _not(_: str, rule: object, place: _Place) -> Filter | None:
    inner = _filter(rule, _Place(place.path, place.problems, place.depth + 1))
    return Not(inner) if inner else None


def _cesql(_: str, rule: object, place: _Place) -> Filter | None:
    if not isinstance(rule, str):
        return place.refuse("write a CESQL expression, such as \"type = 'com.example.word'\"")
    try:
        return compile_filter(rule)
    except FilterError as fault:
        return place.refuse(fault.summary)


_READERS: dict[object, Callable[[str, object, _Place], Filter | None]] = {
    "exact": _attributes,
    "prefix": _attributes,
    "suffix": _attributes,
    "all": _several,
    "any": _several,
    "not": _not,
    "cesql": _cesql,
}
