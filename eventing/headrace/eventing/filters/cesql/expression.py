"""A compiled expression: evaluated for the value and error of the spec, or for yes and no alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from headrace.eventing.filters.cesql.compiling import translate
from headrace.eventing.filters.cesql.parsing import parse
from headrace.eventing.filters.cesql.tree import Attribute
from headrace.eventing.filters.cesql.values import KIND_NAMES, Fault
from headrace.eventing.filters.fault import FilterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.filters.cesql.compiling import Mistake
    from headrace.eventing.filters.cesql.operations import Run
    from headrace.eventing.filters.cesql.tree import Node
    from headrace.eventing.filters.cesql.values import ErrorKind, Kind, Value


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an expression gives for an event: always a value, and perhaps an error (CESQL section 3.3)."""

    value: Value
    error: ErrorKind | Literal[""] = ""
    """The kind of the first error; the evaluation ends with it (section 4.1, fail fast)."""
    detail: str = ""
    """The error, for people."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression, compiled."""

    text: str
    tree: Node = field(repr=False)
    kind: Kind | None = field(repr=False)
    """What it gives; None for an attribute's value, which is what the event says."""
    mistakes: tuple[Mistake, ...] = field(repr=False)
    """What is wrong with it in every event, or hardly meant so; the spec allows it."""
    run: Run = field(repr=False, compare=False)

    def evaluate(self, attributes: Mapping[str, Value]) -> Evaluation:
        """Value and error for an event. Nothing is raised, whatever the attributes are."""
        try:
            return Evaluation(self.run(attributes))
        except Fault as fault:
            # What contains the failed operation gives its zero value; the failed one may have another of its own.
            own = fault.value if fault.origin is self.tree else None
            zero = self.kind() if self.kind else False
            return Evaluation(zero if own is None else own, fault.kind, fault.detail)

    def holds(self, attributes: Mapping[str, Value]) -> bool:
        """Whether the value is true, without an error."""
        try:
            return self.run(attributes) is True
        except Fault:
            return False


def compile_expression(text: str) -> Expression:
    """The expression as the spec has it, of any kind, with what cannot be meant in it.

    Raises:
        FilterError: the text is no expression (the spec's parse error).
    """
    tree = parse(text)
    mistakes: list[Mistake] = []
    code = translate(tree, mistakes)
    return Expression(text, tree, code.kind, tuple(mistakes), code.run)


def compile_predicate(text: str) -> Expression:
    """The expression as a filter: it gives true or false, and no part of it fails always or is read in two ways.

    Raises:
        FilterError: the text is no expression, or one that cannot be meant.
    """
    expression = compile_expression(text)
    if expression.mistakes:
        first = min(expression.mistakes, key=lambda mistake: mistake.at)
        raise FilterError(first.detail, expression=text, offset=first.at)
    tree = expression.tree
    if isinstance(tree, Attribute):
        # Attributes of events in Kafka are text, and a filter that gives text lets nothing through (section 1.2).
        detail = f"an attribute alone is text, and a filter must be true or false; write {tree.name} = TRUE"
        raise FilterError(detail, expression=text, offset=tree.at)
    if expression.kind is not bool and expression.kind is not None:
        detail = f"the expression gives {KIND_NAMES[expression.kind]}, and a filter must be true or false"
        raise FilterError(detail, expression=text, offset=tree.at)
    return expression
