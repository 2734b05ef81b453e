"""From the text of an expression to its tree (CESQL section 2), or to the place where it is none."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, cast

import lark

from headrace.eventing.filters.cesql.syntax import mistake_at, unknown_character
from headrace.eventing.filters.cesql.tree import (
    Among,
    Arithmetic,
    Attribute,
    Calculate,
    Call,
    Compare,
    Comparison,
    Connect,
    Connective,
    Constant,
    Exists,
    Like,
    Negate,
    Node,
    Not,
)
from headrace.eventing.filters.cesql.values import LARGEST
from headrace.eventing.filters.fault import FilterError

if TYPE_CHECKING:
    from lark.lexer import Token

LONGEST = 32_768
"""Characters of an expression."""
DEEPEST = 100
"""Operations inside each other: each costs a frame of Python's stack for every event, and Python has 1000."""


def parse(text: str) -> Node:
    """The tree of the expression.

    Raises:
        FilterError: the text is no expression, is too long or nested too deeply.
    """
    if len(text) > LONGEST:
        raise FilterError(f"the expression has {len(text)} characters; {LONGEST} at most")
    try:
        # lark's own type of the answer is that of a parser without a transformer.
        return cast("Node", _parser().parse(text))
    except lark.UnexpectedCharacters as fault:
        place = cast("int", fault.pos_in_stream)  # lark declares it as None, and sets it
        raise FilterError(unknown_character(text, place), expression=text, offset=place) from None
    except lark.UnexpectedToken as fault:
        detail, place = mistake_at(text, fault.token, fault.expected)
        raise FilterError(detail, expression=text, offset=place) from None
    except _Refused as fault:
        raise FilterError(fault.detail, expression=text, offset=fault.at) from None


class _Refused(Exception):  # noqa: N818  # carries a place out of the parser, which does not know the text
    def __init__(self, detail: str, at: int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.at = at


def _word(word: str) -> str:
    """A keyword in any case of letters; a flag would let the long s and the Kelvin sign pass for s and k."""
    return "/" + "".join(f"[{each.lower()}{each.upper()}]" for each in word) + "(?![a-zA-Z0-9_])/"


_KEYWORDS = "\n".join(
    f"{word.upper()}.2: {_word(word)}" for word in ("and", "or", "xor", "not", "like", "in", "exists", "true", "false")
)
# Where levels of operators follow section 3.6: unary ones bind closest, so that NOT a = b is (NOT a) = b, and AND, OR
# and XOR are of one level. Numbers have their sign in the grammar, else the smallest could not be written.
_GRAMMAR = rf"""
?start: logic
?logic: comparison
    | logic (AND | OR | XOR) comparison -> connect
?comparison: sum
    | comparison COMPARE sum -> compare
?sum: product
    | sum (PLUS | MINUS) product -> calculate
?product: fitting
    | product FACTOR fitting -> calculate
?fitting: unary
    | fitting LIKE STRING -> like
    | fitting NOT LIKE STRING -> not_like
    | fitting IN "(" items ")" -> among
    | fitting NOT IN "(" items ")" -> not_among
?unary: NOT unary -> not_
    | INTEGER -> integer
    | MINUS INTEGER -> negative
    | MINUS unsigned -> negate
    | other
?unsigned: NOT unary -> not_
    | MINUS INTEGER -> negative
    | MINUS unsigned -> negate
    | other
?other: "(" logic ")" -> grouped
    | PLUS INTEGER -> positive
    | STRING -> string
    | TRUE -> true
    | FALSE -> false
    | NAME -> attribute
    | EXISTS NAME -> exists
    | FUNCTION "(" ")" -> call_without
    | FUNCTION "(" items ")" -> call
items: logic ("," logic)*

{_KEYWORDS}
FUNCTION.1: /[a-zA-Z][a-zA-Z_]*(?=[ \t\r\n]*\()/
INTEGER.1: /[0-9]+(?![a-zA-Z0-9_])/
NAME: /[a-zA-Z0-9]+(?![a-zA-Z0-9_])/
STRING: /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/s
COMPARE: /<=|>=|<>|!=|=|<|>/
FACTOR: /[*\/%]/
PLUS: "+"
MINUS: "-"
%ignore /[ \t\r\n]+/
"""


@cache
def _parser() -> lark.Lark:
    """Made once a process: building the tables takes longer than any expression."""
    return lark.Lark(_GRAMMAR, parser="lalr", lexer="basic", transformer=_Builder(), cache=False)


class _Builder(lark.Transformer["Token", Node]):
    """Makes the nodes while the parser reduces: no tree of lark's is ever built, and nothing recurses."""

    @staticmethod
    def items(found: list[Node]) -> tuple[Node, ...]:
        return tuple(found)

    @staticmethod
    def grouped(found: list[Node]) -> Node:
        return replace(found[0], grouped=True)

    @staticmethod
    def connect(found: list[Node]) -> Node:
        left, word, right = found
        operator = cast("Connective", str(word).upper())
        # a OR b OR c is one node: a long list of alternatives is not deep.
        if isinstance(left, Connect) and left.operator == operator:
            depth = max(left.depth, _over(word, right))
            return Connect(operator, (*left.operands, right), left.mixed, at=left.at, depth=depth)
        mixed = isinstance(left, Connect) and not left.grouped
        return Connect(operator, (left, right), mixed, at=_at(word), depth=_over(word, left, right))

    @staticmethod
    def compare(found: list[Node]) -> Node:
        left, word, right = found
        operator = "!=" if str(word) == "<>" else cast("Comparison", str(word))
        return Compare(operator, left, right, at=_at(word), depth=_over(word, left, right))

    @staticmethod
    def calculate(found: list[Node]) -> Node:
        left, word, right = found
        return Calculate(cast("Arithmetic", str(word)), left, right, at=_at(word), depth=_over(word, left, right))

    @staticmethod
    def like(found: list[Node]) -> Node:
        operand, word, pattern = found
        return Like(operand, _unquoted(pattern), False, at=_at(word), depth=_over(word, operand))

    @staticmethod
    def not_like(found: list[Node]) -> Node:
        operand, word, _, pattern = found
        return Like(operand, _unquoted(pattern), True, at=_at(word), depth=_over(word, operand))

    @staticmethod
    def among(found: list[Node]) -> Node:
        operand, word, items = found
        return Among(operand, _tuple(items), False, at=_at(word), depth=_over(word, operand, *_tuple(items)))

    @staticmethod
    def not_among(found: list[Node]) -> Node:
        operand, word, _, items = found
        return Among(operand, _tuple(items), True, at=_at(word), depth=_over(word, operand, *_tuple(items)))

    @staticmethod
    def not_(found: list[Node]) -> Node:
        word, operand = found
        return Not(operand, at=_at(word), depth=_over(word, operand))

    @staticmethod
    def negate(found: list[Node]) -> Node:
        word, operand = found
        return Negate(operand, at=_at(word), depth=_over(word, operand))

    @staticmethod
    def integer(found: list[Node]) -> Node:
        return _number(found[0], found[0], 1)

    @staticmethod
    def positive(found: list[Node]) -> Node:
        return _number(found[1], found[0], 1)

    @staticmethod
    def negative(found: list[Node]) -> Node:
        return _number(found[1], found[0], -1)

    @staticmethod
    def string(found: list[Node]) -> Node:
        return Constant(_unquoted(found[0]), at=_at(found[0]))

    @staticmethod
    def true(found: list[Node]) -> Node:
        return Constant(True, at=_at(found[0]))

    @staticmethod
    def false(found: list[Node]) -> Node:
        return Constant(False, at=_at(found[0]))

    @staticmethod
    def attribute(found: list[Node]) -> Node:
        return Attribute(str(found[0]).lower(), at=_at(found[0]))

    @staticmethod
    def exists(found: list[Node]) -> Node:
        return Exists(str(found[1]).lower(), at=_at(found[0]))

    @staticmethod
    def call_without(found: list[Node]) -> Node:
        return Call(str(found[0]).upper(), (), at=_at(found[0]))

    @staticmethod
    def call(found: list[Node]) -> Node:
        word, items = found
        return Call(str(word).upper(), _tuple(items), at=_at(word), depth=_over(word, *_tuple(items)))


def _number(digits: Node, first: Node, sign: int) -> Constant:
    text = str(digits).lstrip("0")
    # Python refuses to read numbers of thousands of digits.
    if len(text) > len(str(LARGEST)) or not -LARGEST - 1 <= (number := sign * int(text or "0")) <= LARGEST:
        raise _Refused("a whole number lies between -2147483648 and 2147483647", _at(first))
    return Constant(number, at=_at(first))


def _over(word: Node, *inner: Node) -> int:
    """The depth over these operands."""
    depth = 1 + max(each.depth for each in inner)
    if depth > DEEPEST:
        raise _Refused(f"more than {DEEPEST} operations inside each other; write the expression flatter", _at(word))
    return depth


def _unquoted(word: Node) -> str:
    """The text of a literal: only its own quote is escaped, any other backslash stands for itself."""
    text = str(word)
    return text[1:-1].replace("\\" + text[0], text[0])


def _at(word: Node) -> int:
    return cast("Token", word).start_pos or 0


def _tuple(items: Node) -> tuple[Node, ...]:
    return cast("tuple[Node, ...]", items)
