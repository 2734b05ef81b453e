"""The compiled filters, one class a dialect. None has a state: each answers from the attributes alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.eventing.filters.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.eventing.filters.cesql.expression import Expression
    from headrace.eventing.filters.verdict import Filter

_TESTS: dict[str, tuple[Callable[[str, str], bool], str]] = {
    "exact": (str.__eq__, "is not"),
    "prefix": (str.startswith, "does not begin with"),
    "suffix": (str.endswith, "does not end with"),
}


@dataclass(frozen=True, slots=True)
class Attributes:
    """``exact``, ``prefix`` or ``suffix``: every attribute named is there, and is so."""

    dialect: str
    wanted: tuple[tuple[str, str], ...]
    """Attributes with what each is compared with."""
    test: Callable[[str, str], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", _TESTS[self.dialect][0])

    def __call__(self, attributes: Mapping[str, str], /) -> bool:
        """Whether the event is meant."""
        test = self.test
        for name, value in self.wanted:
            found = attributes.get(name)
            if found is None or not test(found, value):
                return False
        return True

    def explain(self, attributes: Mapping[str, str], /) -> Verdict:
        """The answer and its reason: the first attribute that is not so."""
        for name, value in self.wanted:
            found = attributes.get(name)
            if found is None:
                return Verdict(False, f"the event has no attribute {name!r}")
            if not self.test(found, value):
                return Verdict(False, f"{name} is {found!r}, which {_TESTS[self.dialect][1]} {value!r}")
        return Verdict(True, f"{' and '.join(name for name, _ in self.wanted)} as {self.dialect} wants")


@dataclass(frozen=True, slots=True)
class All:
    """``all``, and a list of filters: every one says yes."""

    inner: tuple[Filter, ...]

    def __call__(self, attributes: Mapping[str, str], /) -> bool:
        """Whether the event is meant."""
        for each in self.inner:  # noqa: SIM110  # a third of the time of all() with a generator
            if not each(attributes):
                return False
        return True

    def explain(self, attributes: Mapping[str, str], /) -> Verdict:
        """The answer and its reason: that of the first filter that says no."""
        for each in self.inner:
            verdict = each.explain(attributes)
            if not verdict.matches:
                return verdict
        return Verdict(True, "every filter matches" if self.inner else "there is no filter")


@dataclass(frozen=True, slots=True)
class AnyOf:
    """``any``: one filter at least says yes."""

    inner: tuple[Filter, ...]

    def __call__(self, attributes: Mapping[str, str], /) -> bool:
        """Whether the event is meant."""
        for each in self.inner:  # noqa: SIM110  # a third of the time of any() with a generator
            if each(attributes):
                return True
        return False

    def explain(self, attributes: Mapping[str, str], /) -> Verdict:
        """The answer and its reason: the first yes, or every no."""
        verdicts = []
        for each in self.inner:
            verdict = each.explain(attributes)
            if verdict.matches:
                return verdict
            verdicts.append(verdict)
        error = next((verdict.error for verdict in verdicts if verdict.error), "")
        return Verdict(False, "; ".join(verdict.reason for verdict in verdicts), error)


@dataclass(frozen=True, slots=True)
class Not:
    """``not``: the filter in it says no. Where it says no because of an error, this says yes, as Knative does."""

    inner: Filter

    def __call__(self, attributes: Mapping[str, str], /) -> bool:
        """Whether the event is meant."""
        return not self.inner(attributes)

    def explain(self, attributes: Mapping[str, str], /) -> Verdict:
        """The answer and its reason, that of the filter in it."""
        verdict = self.inner.explain(attributes)
        return Verdict(not verdict.matches, f"not: {verdict.reason}", "" if not verdict.matches else verdict.error)


@dataclass(frozen=True, slots=True)
class Cesql:
    """``cesql``: the expression is true, and no error came up on the way (CESQL section 1.2)."""

    expression: Expression

    def __call__(self, attributes: Mapping[str, str], /) -> bool:
        """Whether the event is meant."""
        return self.expression.holds(attributes)

    def explain(self, attributes: Mapping[str, str], /) -> Verdict:
        """The answer and its reason."""
        found = self.expression.evaluate(attributes)
        if found.error:
            return Verdict(False, found.detail, found.error)
        matches = found.value is True
        return Verdict(matches, "the expression is true" if matches else "the expression is false")
