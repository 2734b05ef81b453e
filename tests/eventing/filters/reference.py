"""CESQL once more, slow and plain: a printer of trees, and an evaluator that walks them for every event.

It shares the classes of the tree with the real one, and nothing else.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from headrace.eventing.filters.cesql import tree as t

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Value = str | int | bool
    Outcome = tuple[Value, str]

LEVELS: dict[type, int] = {t.Connect: 1, t.Compare: 2, t.Like: 5, t.Among: 5, t.Not: 6, t.Negate: 6}
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def printed(node: t.Node, least: int = 1) -> str:
    """The text of a tree, with parentheses only where the levels of section 3.6 need them."""
    text, level = _text(node)
    return f"({text})" if level < least else text


def _text(node: t.Node) -> tuple[str, int]:
    if isinstance(node, t.Constant):
        return _constant(node.value)
    if isinstance(node, t.Attribute):
        return node.name, 7
    if isinstance(node, t.Exists):
        return f"exists {node.name}", 7
    if isinstance(node, t.Call):
        return f"{node.name}({', '.join(map(printed, node.arguments))})", 7
    if isinstance(node, t.Connect):
        first, *rest = node.operands
        return f" {node.operator} ".join([printed(first, 1), *(printed(each, 2) for each in rest)]), 1
    return _operation(node)


def _operation(node: t.Node) -> tuple[str, int]:
    if isinstance(node, t.Calculate):
        level = 4 if node.operator in "*/%" else 3
        return f"{printed(node.left, level)} {node.operator} {printed(node.right, level + 1)}", level
    level = LEVELS[type(node)]
    if isinstance(node, t.Compare):
        return f"{printed(node.left, 2)} {node.operator} {printed(node.right, 3)}", level
    if isinstance(node, t.Like):
        return f"{printed(node.operand, 5)}{' NOT' if node.negated else ''} LIKE {_quoted(node.pattern)}", level
    if isinstance(node, t.Among):
        items = ", ".join(map(printed, node.items))
        return f"{printed(node.operand, 5)}{' NOT' if node.negated else ''} IN ({items})", level
    if isinstance(node, t.Not):
        return f"NOT {printed(node.operand, 6)}", level
    assert isinstance(node, t.Negate)
    inner = node.operand
    # A sign before a number is the number's own.
    bare = isinstance(inner, t.Constant) and type(inner.value) is int and inner.value >= 0
    return (f"-({printed(inner)})" if bare else f"-{printed(inner, 6)}"), level


def _constant(value: Value) -> tuple[str, int]:
    if isinstance(value, bool):
        return str(value), 7
    if isinstance(value, int):
        return str(value), 6
    return _quoted(value), 7


def _quoted(value: str) -> str:
    if "'" in value and '"' not in value:
        return f'"{value}"'
    return "'" + value.replace("'", "\\'") + "'"


def evaluated(node: t.Node, event: Mapping[str, Value]) -> Outcome:
    """Value and error of a tree: an operation whose operand has an error has that error, and its own zero value."""
    if isinstance(node, t.Constant):
        return node.value, ""
    if isinstance(node, t.Attribute):
        return (event[node.name], "") if node.name in event else (False, "missingAttribute")
    if isinstance(node, t.Exists):
        return node.name in event or node.name in ("id", "source", "type", "specversion"), ""
    return OPERATIONS[type(node)](node, event)


def cast(value: Value, kind: type) -> Outcome:
    """A cast, with the error of section 3.7."""
    if kind is str:
        return (str(value).lower() if isinstance(value, bool) else str(value)), ""
    if not isinstance(value, str):
        return kind(value), ""
    if kind is bool:
        known = {"true": True, "false": False}.get(value.lower())
        return (known, "") if known is not None else (False, "cast")
    digits = value[1:] if value[:1] in ("+", "-") else value
    if digits and all(each in "0123456789" for each in digits) and -(2**31) <= int(value) < 2**31:
        return int(value), ""
    return 0, "cast"


def _as(node: t.Node, kind: type, event: Mapping[str, Value]) -> Outcome:
    value, error = evaluated(node, event)
    return (value, error) if error else cast(value, kind)


def _connected(node: t.Connect, event: Mapping[str, Value]) -> Outcome:
    result, error = _as(node.operands[0], bool, event)
    for each in node.operands[1:]:
        if error:
            return False, error
        if (node.operator, result) in (("AND", False), ("OR", True)):
            return result, ""
        value, error = _as(each, bool, event)
        result = result != value if node.operator == "XOR" else value
    return (False, error) if error else (result, "")


def _among(node: t.Among, event: Mapping[str, Value]) -> Outcome:
    value, error = evaluated(node.operand, event)
    if error:
        return False, error
    for each in node.items:
        item, error = _as(each, type(value), event)
        if error:
            return False, error
        if item == value:
            return not node.negated, ""
    return node.negated, ""


def _unary(node: t.Not | t.Negate | t.Like, event: Mapping[str, Value]) -> Outcome:
    value, error = evaluated(node.operand, event)
    if isinstance(node, t.Not):
        if error:
            return False, error
        if type(value) is int:
            return True, "cast"
        known, error = cast(value, bool)
        return not known, error
    if isinstance(node, t.Negate):
        number, error = (0, error) if error else cast(value, int)
        return (0, error) if error else bounded(-int(number))
    if error:
        return False, error
    return like(str(cast(value, str)[0]), node.pattern) != node.negated, ""


def _binary(node: t.Node, event: Mapping[str, Value]) -> Outcome:
    if isinstance(node, t.Compare) and node.operator in ("=", "!="):
        return _equal(node, event)
    assert isinstance(node, t.Compare | t.Calculate)
    left, error = _as(node.left, int, event)
    right, later = (0, "") if error else _as(node.right, int, event)
    error = error or later
    if isinstance(node, t.Compare):
        return (False, error) if error else (COMPARISONS[node.operator](int(left), int(right)), "")
    return (0, error) if error else calculated(node.operator, int(left), int(right))


def _equal(node: t.Compare, event: Mapping[str, Value]) -> Outcome:
    left, error = evaluated(node.left, event)
    if error:
        return False, error
    kind = kind_of(node.right)
    # What is known of the right operand's kind decides, whether or not it can be evaluated.
    if kind:
        left, error = cast(left, kind)
        if error:
            return False, error
    right, error = evaluated(node.right, event)
    if error:
        return False, error
    left, error = cast(left, type(right))
    return (False, error) if error else ((left == right) != (node.operator == "!="), "")


def kind_of(node: t.Node) -> type | None:
    """The kind of a node where the text tells it."""
    if isinstance(node, t.Constant):
        return type(node.value)
    if isinstance(node, t.Attribute):
        return None
    if isinstance(node, t.Call):
        return FUNCTIONS[node.name][1]
    return int if isinstance(node, t.Negate | t.Calculate) else bool


def calculated(sign: str, left: int, right: int) -> Outcome:
    """Arithmetic as of a machine that rounds towards zero."""
    if sign in "/%":
        if right == 0:
            return 0, "math"
        quotient = 0
        rest = abs(left)
        # By subtraction of powers: not how the real one does it.
        for shift in range(32, -1, -1):
            if rest >= abs(right) << shift:
                rest -= abs(right) << shift
                quotient += 1 << shift
        if sign == "%":
            return (-rest if left < 0 else rest), ""
        return bounded(quotient if (left < 0) == (right < 0) else -quotient)
    return bounded({"+": left + right, "-": left - right, "*": left * right}[sign])


def bounded(number: int) -> Outcome:
    """A number of 32 bits, or the nearest one with an error."""
    nearest = max(-(2**31), min(number, 2**31 - 1))
    return nearest, "" if nearest == number else "math"


def like(text: str, pattern: str) -> bool:
    """LIKE by trying everything: only for short texts."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    if not text:
        return False
    if pattern[0] == "_":
        return like(text[1:], pattern[1:])
    if pattern[:2] in ("\\%", "\\_"):
        return text[0] == pattern[1] and like(text[1:], pattern[2:])
    return text[0] == pattern[0] and like(text[1:], pattern[1:])


def _left(text: str, count: int) -> Outcome:
    return (text, "functionEvaluation") if count < 0 else ("".join(list(text)[:count]), "")


FUNCTIONS: dict[str, tuple[tuple[type, ...], type, Callable[..., Outcome]]] = {
    "LENGTH": ((str,), int, lambda text: (sum(1 for _ in text), "")),
    "CONCAT": ((str, str), str, lambda one, two: (one + two, "")),
    "LEFT": ((str, int), str, _left),
    "ABS": ((int,), int, lambda number: bounded(-number if number < 0 else number)),
    "INT": ((int,), int, lambda number: (number, "")),
    "BOOL": ((bool,), bool, lambda value: (value, "")),
}
"""Some functions, each with a fixed number of arguments here: their kinds, the result's, and what they do."""


def _called(node: t.Call, event: Mapping[str, Value]) -> Outcome:
    kinds, result, function = FUNCTIONS[node.name]
    values: list[Value] = []
    for kind, each in zip(kinds, node.arguments, strict=True):
        value, error = _as(each, kind, event)
        if error:
            return result(), error
        values.append(value)
    return function(*values)


OPERATIONS: dict[type, Callable[..., Outcome]] = {
    t.Connect: _connected, t.Among: _among, t.Not: _unary, t.Negate: _unary, t.Like: _unary,
    t.Compare: _binary, t.Calculate: _binary, t.Call: _called,
}  # fmt: skip
