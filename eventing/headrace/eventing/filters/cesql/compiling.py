"""From a tree to a function of an event's attributes, made once (CESQL sections 3.4 to 3.7).

Casts are settled here wherever the kinds are known, constants are computed, and sets of constants become Python's, so
that an event costs only what depends on it. A function that is made here returns its value or raises
:class:`Fault`, which ends the evaluation: the spec's fail fast mode, which section 1.2 asks of filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, cast

from headrace.eventing.event import REQUIRED
from headrace.eventing.filters.cesql import functions, operations
from headrace.eventing.filters.cesql.like import compile_pattern
from headrace.eventing.filters.cesql.tree import (
    Among,
    Attribute,
    Calculate,
    Call,
    Compare,
    Connect,
    Constant,
    Exists,
    Like,
    Negate,
    Not,
)
from headrace.eventing.filters.cesql.values import CASTS, Fault

if TYPE_CHECKING:
    from headrace.eventing.filters.cesql.operations import Run
    from headrace.eventing.filters.cesql.tree import Node
    from headrace.eventing.filters.cesql.values import Kind, Value


@dataclass(frozen=True, slots=True)
class Mistake:
    """A part that ends in an error whatever the event is, or that hardly anybody means as the spec reads it."""

    detail: str
    at: int


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled node."""

    run: Run
    kind: Kind | None
    """What it gives; None where only the event tells."""
    at: int
    constant: bool = False
    """Whether it gives the same for every event, and no error."""


@singledispatch
def translate(node: Node, mistakes: list[Mistake]) -> Code:
    """The node, compiled; what is wrong with it in every event is added to ``mistakes``."""
    raise AssertionError((node, mistakes))


@translate.register(Constant)
def _constant(node: Constant, _: list[Mistake]) -> Code:
    return Code(operations.always(node.value), type(node.value), node.at, constant=True)


@translate.register(Attribute)
def _attribute(node: Attribute, _: list[Mistake]) -> Code:
    return Code(operations.attribute(node.name), None, node.at)


@translate.register(Exists)
def _exists(node: Exists, _: list[Mistake]) -> Code:
    if node.name in REQUIRED:
        return Code(operations.always(True), bool, node.at, constant=True)
    return Code(operations.exists(node.name), bool, node.at)


@translate.register(Not)
def _not(node: Not, mistakes: list[Mistake]) -> Code:
    operand = translate(node.operand, mistakes)
    return _folded(operations.negation(node, operand.run, plain=operand.kind is bool), bool, node, [operand], mistakes)


@translate.register(Negate)
def _negate(node: Negate, mistakes: list[Mistake]) -> Code:
    operand = translate(node.operand, mistakes)
    return _folded(operations.minus(node, _as(int, operand, mistakes)), int, node, [operand], mistakes)


@translate.register(Calculate)
def _calculate(node: Calculate, mistakes: list[Mistake]) -> Code:
    left, right = translate(node.left, mistakes), translate(node.right, mistakes)
    run = operations.calculation(node, _as(int, left, mistakes), _as(int, right, mistakes))
    return _folded(run, int, node, [left, right], mistakes)


@translate.register(Compare)
def _compare(node: Compare, mistakes: list[Mistake]) -> Code:
    left, right = translate(node.left, mistakes), translate(node.right, mistakes)
    if right.kind is not bool:
        _refuse_not(node.left, node.operator, mistakes)
    if node.operator not in ("=", "!="):
        run = operations.ordering(node.operator, _as(int, left, mistakes), _as(int, right, mistakes))
    else:
        run = _equality(node, left, right, mistakes)
    return _folded(run, bool, node, [left, right], mistakes)


def _equality(node: Compare, left: Code, right: Code, mistakes: list[Mistake]) -> Run:
    """The right operand's kind says as what the two are compared (section 3.7)."""
    negated = node.operator == "!="
    if right.kind is None:
        return operations.equal_as_right(left.run, right.run, negated=negated)
    if right.kind is str and right.constant and isinstance(node.left, Attribute):
        return operations.attribute_equals(node.left.name, cast("str", right.run({})), negated=negated)
    return operations.equal(_as(right.kind, left, mistakes), right.run, negated=negated)


@translate.register(Connect)
def _connect(node: Connect, mistakes: list[Mistake]) -> Code:
    operands = [translate(each, mistakes) for each in node.operands]
    if node.mixed:
        # The spec: from left to right. SQL: AND first. The SDKs that Knative uses: from right to left.
        mistakes.append(Mistake("which of AND, OR and XOR comes first? Write parentheses", node.at))
    runs = tuple(_as(bool, each, mistakes) for each in operands)
    return _folded(operations.connection(node.operator, runs), bool, node, operands, mistakes)


@translate.register(Like)
def _like(node: Like, mistakes: list[Mistake]) -> Code:
    operand = translate(node.operand, mistakes)
    _refuse_not(node.operand, "LIKE", mistakes)
    run = operations.fitting(_as(str, operand, mistakes), compile_pattern(node.pattern), negated=node.negated)
    return _folded(run, bool, node, [operand], mistakes)


@translate.register(Among)
def _among(node: Among, mistakes: list[Mistake]) -> Code:
    """The left operand's kind says as what the items are compared (sections 3.4.5 and 3.7)."""
    operand = translate(node.operand, mistakes)
    _refuse_not(node.operand, "IN", mistakes)
    items = [translate(each, mistakes) for each in node.items]
    if operand.kind is not None:
        runs = [_as(operand.kind, each, mistakes) for each in items]
        items = [_settled(run, operand.kind, item) for run, item in zip(runs, items, strict=True)]
    every = [operand, *items]
    if operand.kind is not None and all(each.constant for each in items):
        values = frozenset(each.run({}) for each in items)
        run = operations.among_known(operand.run, values, negated=node.negated)
    else:
        texts = frozenset(CASTS[str](each.run({})) for each in items) if all(each.constant for each in items) else None
        run = operations.among(operand.run, tuple(each.run for each in items), texts, negated=node.negated)
    return _folded(run, bool, node, every, mistakes)


def _refuse_not(operand: Node, sign: str, mistakes: list[Mistake]) -> None:
    """``NOT a = 'b'`` is ``(NOT a) = 'b'``, which no event of that kind meets."""
    if isinstance(operand, Not) and not operand.grouped:
        detail = f"NOT belongs to what stands next to it, before {sign} does; write NOT (... {sign} ...)"
        mistakes.append(Mistake(detail, operand.at))


def _settled(run: Run, kind: Kind, item: Code) -> Code:
    """The item after its cast: still a constant where the cast could be done here."""
    if not item.constant:
        return Code(run, kind, item.at)
    try:
        run({})
    except Fault:
        return Code(run, kind, item.at)
    return Code(run, kind, item.at, constant=True)


@translate.register(Call)
def _call(node: Call, mistakes: list[Mistake]) -> Code:
    arguments = [translate(each, mistakes) for each in node.arguments]
    function = functions.find(node.name, len(arguments))
    if function is None:
        detail = _no_function(node)
        mistakes.append(Mistake(detail, node.at))
        return Code(operations.missing_function(detail), bool, node.at)
    kinds = function.kinds(len(arguments))
    runs = tuple(_as(kind, each, mistakes) if kind else each.run for kind, each in zip(kinds, arguments, strict=True))
    return _folded(operations.call(node, function.call, runs), function.result, node, arguments, mistakes)


def _no_function(node: Call) -> str:
    if known := functions.arities(node.name):
        return f"{node.name} is called with {len(node.arguments)} arguments, and takes {known}"
    return f"there is no function {node.name}; known are {', '.join(sorted(functions.FUNCTIONS))}"


def _as(kind: Kind, code: Code, mistakes: list[Mistake]) -> Run:
    """What gives the code's value as one of this kind."""
    if code.kind is kind:
        return code.run
    run = operations.converted(code.run, kind)
    if not code.constant:
        return run
    try:
        return operations.always(run({}))
    except Fault as fault:
        mistakes.append(Mistake(fault.detail, code.at))
        return run


def _folded(run: Run, kind: Kind, node: Node, operands: list[Code], mistakes: list[Mistake]) -> Code:
    """The code of a node, computed here where no event can change it."""
    if not all(each.constant for each in operands):
        return Code(run, kind, node.at)
    try:
        value: Value = run({})
    except Fault as fault:
        # A cast that fails was told of when it was put in, at the operand's own place.
        if not any(each.detail == fault.detail for each in mistakes):
            mistakes.append(Mistake(fault.detail, node.at))
        return Code(run, kind, node.at)
    return Code(operations.always(value), kind, node.at, constant=True)
