"""The functions that compiled expressions are made of: each takes the functions of its operands, and gives its own.

What belongs here: what happens for each event, and nothing that could be settled before. Operands are evaluated from
left to right, since the first error ends the evaluation.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, cast

from headrace.eventing.filters.cesql.values import CASTS, LARGEST, SMALLEST, Fault, Value, to_boolean, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.eventing.filters.cesql.tree import Calculate, Call, Connective, Negate, Node
    from headrace.eventing.filters.cesql.values import Kind

    Attributes = Mapping[str, Value]
    Run = Callable[[Attributes], Value]

_ORDERS: dict[str, Callable[[Value, Value], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def always(value: Value) -> Run:
    """A constant."""
    return lambda _: value


def attribute(name: str) -> Run:
    """An attribute's value."""

    def run(attributes: Attributes) -> Value:
        try:
            return attributes[name]
        except KeyError:
            raise _missing(name) from None

    return run


def exists(name: str) -> Run:
    """Whether the attribute is there."""
    return lambda attributes: name in attributes


def attribute_equals(name: str, text: str, *, negated: bool) -> Run:
    """An attribute compared with a text: the filter that is written most, so the cheapest."""

    def run(attributes: Attributes) -> Value:
        try:
            value = attributes[name]
        except KeyError:
            raise _missing(name) from None
        if value.__class__ is not str:
            value = to_text(value)
        return (value == text) is not negated

    return run


def _missing(name: str) -> Fault:
    return Fault("missingAttribute", f"the event has no attribute '{name}'")


def converted(inner: Run, kind: Kind) -> Run:
    """The value as one of this kind."""
    cast_to = CASTS[kind]

    def run(attributes: Attributes) -> Value:
        value = inner(attributes)
        return value if value.__class__ is kind else cast_to(value)

    return run


def negation(node: Node, inner: Run, *, plain: bool) -> Run:
    """The opposite of a boolean, ``plain`` where it is known to be one.

    A number is no boolean here, unlike anywhere else: the conformance suite says so (``NOT 10``), against section 3.7.
    """

    def run(attributes: Attributes) -> Value:
        value = inner(attributes)
        if value.__class__ is bool:
            return not value
        try:
            if not isinstance(value, str):
                raise Fault("cast", f"{value} is a number, and NOT takes true or false")  # noqa: TRY301  # one handler
            return not to_boolean(value)
        except Fault as fault:
            # The opposite of what the failed cast gives, which is false.
            raise _of(node, fault, True) from None

    return (lambda attributes: not inner(attributes)) if plain else run


def minus(node: Negate, inner: Run) -> Run:
    """The number with the other sign."""

    def run(attributes: Attributes) -> Value:
        return _fitting(node, -cast("int", inner(attributes)))

    return run


def calculation(node: Calculate, left: Run, right: Run) -> Run:
    """Arithmetic with 32 bits."""
    compute = _ARITHMETIC[node.operator]

    def run(attributes: Attributes) -> Value:
        return _fitting(node, compute(cast("int", left(attributes)), cast("int", right(attributes))))

    return run


def _fitting(node: Node, number: int) -> int:
    """The number, which must have 32 bits. The spec is silent; ABS of the smallest number is its example."""
    if SMALLEST <= number <= LARGEST:
        return number
    nearest = SMALLEST if number < SMALLEST else LARGEST
    raise _of(node, Fault("math", f"{number} does not fit into 32 bits"), nearest)


def _divide(left: int, right: int) -> int:
    """Rounded towards zero, as Python does not."""
    if right == 0:
        raise Fault("math", f"{left} is divided by 0")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    """With the sign of the dividend, as Python does not."""
    if right == 0:
        raise Fault("math", f"{left} is divided by 0")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "*": operator.mul,
    "/": _divide,
    "%": _remainder,
    "+": operator.add,
    "-": operator.sub,
}


def ordering(sign: str, left: Run, right: Run) -> Run:
    """Which of two numbers is larger."""
    compare = _ORDERS[sign]
    return lambda attributes: compare(left(attributes), right(attributes))


def equal(left: Run, right: Run, *, negated: bool) -> Run:
    """Whether two values of one kind are equal."""
    if negated:
        return lambda attributes: left(attributes) != right(attributes)
    return lambda attributes: left(attributes) == right(attributes)


def equal_as_right(left: Run, right: Run, *, negated: bool) -> Run:
    """Whether two values are equal, the left one cast to the kind that the right one turns out to be."""

    def run(attributes: Attributes) -> Value:
        one, two = left(attributes), right(attributes)
        if one.__class__ is not two.__class__:
            one = CASTS[type(two)](one)
        return (one == two) is not negated

    return run


def connection(word: Connective, operands: tuple[Run, ...]) -> Run:
    """``AND`` and ``OR`` ask no further than needed, ``XOR`` asks every operand."""
    if word == "XOR":
        return lambda attributes: sum([operand(attributes) is True for operand in operands]) % 2 == 1
    ends = word == "OR"
    if len(operands) == 2:  # noqa: PLR2004  # the usual number, without a loop
        one, two = operands
        if ends:
            return lambda attributes: one(attributes) or two(attributes)
        return lambda attributes: one(attributes) and two(attributes)

    def run(attributes: Attributes) -> Value:
        for operand in operands:
            if operand(attributes) is ends:
                return ends
        return not ends

    return run


def fitting(inner: Run, fits: Callable[[str], bool], *, negated: bool) -> Run:
    """Whether a text fits a pattern."""
    if negated:
        return lambda attributes: not fits(cast("str", inner(attributes)))
    return lambda attributes: fits(cast("str", inner(attributes)))


def among_known(inner: Run, values: frozenset[Value], *, negated: bool) -> Run:
    """Whether a value is one of these, all of its kind."""
    if negated:
        return lambda attributes: inner(attributes) not in values
    return lambda attributes: inner(attributes) in values


def among(inner: Run, items: tuple[Run, ...], texts: frozenset[Value] | None, *, negated: bool) -> Run:
    """Whether a value equals one of the items, each cast to the kind that it turns out to be.

    ``texts`` are the items as text where they are constants: what an attribute is compared with, nearly always.
    """

    def run(attributes: Attributes) -> Value:
        value = inner(attributes)
        kind = type(value)
        if kind is str and texts is not None:
            return (value in texts) is not negated
        cast_to = CASTS[kind]
        for item in items:
            if cast_to(item(attributes)) == value:
                return not negated
        return negated

    return run


def call(node: Call, function: Callable[..., Value], arguments: tuple[Run, ...]) -> Run:
    """A function's value."""

    def run(attributes: Attributes) -> Value:
        values = [argument(attributes) for argument in arguments]
        try:
            return function(*values)
        except Fault as fault:
            raise _of(node, fault, fault.value) from None

    return run


def missing_function(detail: str) -> Run:
    """A call of a function that does not exist, which is an error of the evaluation (section 3.5)."""

    def run(_: Attributes) -> Value:
        raise Fault("missingFunction", detail)

    return run


def _of(node: Node, fault: Fault, value: Value | None) -> Fault:
    """The error as that of this operation, with the value that it gives beside it."""
    fault.value, fault.origin = value, node
    return fault
