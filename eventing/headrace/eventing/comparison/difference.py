"""The difference of two answers: of classes, of vectors and tensors, of JSON, of text. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.eventing.comparison.answers import Answer

Kind = Literal["same", "close", "changed", "flip", "broken", "mended"]
"""``same``: to the bit. ``close``: numbers within the tolerance, all else the same. ``changed``: numbers beyond it, or
another text or structure. ``flip``: another class comes first. ``broken``: failed now and did not before; ``mended``:
the other way round."""
Rule = Literal["auto", "tensors", "classes", "embeddings", "json", "text"]
"""What counts. ``auto``: all of it, by what the answers hold. ``tensors``: numbers within the tolerance. ``classes``:
which class comes first, and which are among the first few; of a plain list of scores the place is the class.
``embeddings``: the cosine of vectors. ``json``: structure and types, whatever the values. ``text``: the texts."""
LABEL = "label"
"""Members of this name hold the class that a model chose."""
MOST_WORDS = 1000
"""Words of a text that are compared: the time goes with their square."""
_LISTS = ("labels", "top", "classes")
"""Members that list runners-up: their order and scores are numbers, and no class that was chosen."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What counts as the same number."""

    absolute: float = 1e-6
    relative: float = 1e-4
    cosine: float = 0.999
    """For ``embeddings``: a smaller one is a change."""
    top: int = 5
    """How many classes are the first few."""

    def takes(self, before: float, after: float) -> bool:
        """Whether the two are close; two that are not numbers are, an infinite and a finite one are not."""
        if math.isnan(before) or math.isnan(after):
            return math.isnan(before) and math.isnan(after)
        return math.isclose(before, after, rel_tol=self.relative, abs_tol=self.absolute)


@dataclass(frozen=True, slots=True)
class Difference:
    """How two answers to one event differ."""

    request: str
    kind: Kind
    most: float = 0.0
    """The largest absolute difference of two numbers."""
    cosine: float | None = None
    """The smallest cosine of two vectors; None where there are none."""
    overlap: float | None = None
    """Share of the first few classes that both name, the smallest; None where none are named."""
    similarity: float | None = None
    """Share of the words that two texts have in common, in order, the smallest; None where all texts are the same."""
    flips: tuple[tuple[str, str], ...] = ()
    """Classes that came first before, and now."""
    notes: tuple[str, ...] = ()
    """Where structure or text differ, a path each."""


@dataclass(slots=True)
class _Walk:
    tolerance: Tolerance
    rule: Rule = "auto"
    beyond: bool = False
    touched: bool = False
    labelled: bool = False
    """Whether what is looked at now names its class: then a list of numbers beside it is no list of scores."""
    most: float = 0.0
    cosines: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)
    flips: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def counts(self, *rules: Rule) -> bool:
        """Whether what is looked at now makes a change: by one of these rules, or where no rule was chosen."""
        return self.rule == "auto" or self.rule in rules

    def number(self, before: float, after: float) -> None:
        """Two numbers."""
        if before == after:
            return
        self.touched = True
        self.beyond |= self.counts("tensors") and not self.tolerance.takes(before, after)
        self.most = max(self.most, abs(before - after) if math.isfinite(before - after) else math.inf)

    def text(self, before: str, after: str, path: str) -> None:
        """Two texts."""
        if before == after:
            return
        self.touched = True
        self.similarities.append(similarity(before, after))
        if self.counts("text", "tensors"):
            self.notes.append(path)

    def vector(self, before: Sequence[float], after: Sequence[float]) -> None:
        """Two lists of numbers, of one length."""
        if self.rule == "classes" and not self.labelled:
            self.ranks(_by_score(before), _by_score(after))
            return
        found = cosine(before, after)
        self.cosines.append(found)
        self.beyond |= self.rule == "embeddings" and found < self.tolerance.cosine

    def ranks(self, before: Sequence[str], after: Sequence[str]) -> None:
        """Classes, the likeliest first."""
        if before[:1] != after[:1]:
            self.flips.append((before[0], after[0]))
        self.overlaps.append(overlap(before[: self.tolerance.top], after[: self.tolerance.top]))


def difference(before: Answer, after: Answer, tolerance: Tolerance, rule: Rule = "auto") -> Difference:
    """How ``after`` differs from ``before``, which answers the same event."""
    if before.failed != after.failed:
        return Difference(before.request, "broken" if after.failed else "mended")
    if before.failed:
        same = _code(before.value) == _code(after.value)
        return Difference(before.request, "same" if same else "changed", notes=() if same else ("the error",))
    walk = _Walk(tolerance, rule)
    _walk(walk, before.value, after.value, "$")
    return Difference(
        before.request,
        _kind(walk),
        walk.most,
        min(walk.cosines, default=None),
        min(walk.overlaps, default=None),
        min(walk.similarities, default=None),
        tuple(walk.flips),
        tuple(walk.notes[:10]),
    )


def cosine(before: Sequence[float], after: Sequence[float]) -> float:
    """The cosine of the angle between two vectors of one length; 1 for two of length zero, 0 where one alone is."""
    lengths = math.sqrt(math.fsum(x * x for x in before)), math.sqrt(math.fsum(x * x for x in after))
    if not all(lengths):
        return 1.0 if not any(lengths) else 0.0
    return math.fsum(x * y for x, y in zip(before, after, strict=True)) / (lengths[0] * lengths[1])


def similarity(before: str, after: str) -> float:
    """Share of the words that both have, in order; of the first thousand of long texts."""
    words = before.split()[:MOST_WORDS], after.split()[:MOST_WORDS]
    return SequenceMatcher(None, *words, autojunk=False).ratio()


def overlap(before: Sequence[str], after: Sequence[str]) -> float:
    """Share of the larger one's that both name; 1 for none."""
    return len(set(before) & set(after)) / max(len(before), len(after), 1)


def _kind(walk: _Walk) -> Kind:
    if walk.flips:
        return "flip"
    if walk.beyond or walk.notes:
        return "changed"
    return "close" if walk.touched else "same"


def _walk(walk: _Walk, before: Any, after: Any, path: str) -> None:
    if _is_number(before) and _is_number(after):
        walk.number(before, after)
    elif isinstance(before, dict) and isinstance(after, dict):
        _members(walk, before, after, path)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        _items(walk, before, after, path)
    elif isinstance(before, str) and isinstance(after, str):
        walk.text(before, after, path)
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        walk.touched = True
        if walk.rule != "json" or type(before) is not type(after) or isinstance(before, list):
            walk.notes.append(path)


def _members(walk: _Walk, before: dict[str, Any], after: dict[str, Any], path: str) -> None:
    walk.notes.extend(f"{path}.{name}" for name in sorted(before.keys() ^ after.keys()))
    around, walk.labelled = walk.labelled, walk.labelled or LABEL in before
    for name in sorted(before.keys() & after.keys()):
        place = f"{path}.{name}"
        if name == LABEL and before[name] != after[name] and walk.counts("classes"):
            walk.flips.append((str(before[name]), str(after[name])))
        elif name in _LISTS and _ranked(before[name]) and _ranked(after[name]):
            _runners_up(walk, before[name], after[name])
        else:
            _walk(walk, before[name], after[name], place)
    walk.labelled = around


def _items(walk: _Walk, before: list[Any], after: list[Any], path: str) -> None:
    if len(before) > 1 and all(map(_is_number, before)) and all(map(_is_number, after)):
        walk.vector(before, after)
    for place, (one, other) in enumerate(zip(before, after, strict=True)):
        _walk(walk, one, other, f"{path}[{place}]")


def _runners_up(walk: _Walk, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    scores, others = dict(_scores(before)), dict(_scores(after))
    walk.overlaps.append(overlap(list(scores)[: walk.tolerance.top], list(others)[: walk.tolerance.top]))
    walk.touched |= scores != others
    for label in scores.keys() & others.keys():
        walk.number(scores[label], others[label])


def _by_score(scores: Sequence[float]) -> list[str]:
    return [str(place) for place in sorted(range(len(scores)), key=lambda place: -scores[place])]


def _scores(ranked: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for item in ranked:
        yield str(item[LABEL]), next((float(v) for k, v in item.items() if isinstance(v, float) and k != LABEL), 0.0)


def _ranked(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and LABEL in item for item in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _code(problem: Any) -> Any:
    return problem.get("code", problem.get("status")) if isinstance(problem, dict) else problem
