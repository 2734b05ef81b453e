"""What an expression says, as frozen values: what the parser makes and the compiler reads.

``at`` is the number of characters before the node's own word in the text; two trees are equal however they are written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from headrace.eventing.filters.cesql.values import Value

Arithmetic = Literal["*", "/", "%", "+", "-"]
Comparison = Literal["=", "!=", "<", "<=", ">", ">="]
Connective = Literal["AND", "OR", "XOR"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """How a node stands in the text, and how deep the tree is from here down."""

    at: int = field(default=0, compare=False)
    depth: int = field(default=1, compare=False)
    grouped: bool = field(default=False, compare=False)
    """Whether it stands in parentheses."""


@dataclass(frozen=True, slots=True)
class Constant(Placed):
    """A literal."""

    value: Value

    def __eq__(self, other: object) -> bool:
        # Python takes 1 for True.
        return isinstance(other, Constant) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Attribute(Placed):
    """The value of an attribute of the event."""

    name: str


@dataclass(frozen=True, slots=True)
class Exists(Placed):
    """Whether the event has the attribute."""

    name: str


@dataclass(frozen=True, slots=True)
class Not(Placed):
    """The opposite."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Negate(Placed):
    """Minus the operand."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Calculate(Placed):
    """Arithmetic of two operands."""

    operator: Arithmetic
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Compare(Placed):
    """A comparison; ``<>`` is read as ``!=``."""

    operator: Comparison
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Connect(Placed):
    """Operands with the same connective between them, from left to right."""

    operator: Connective
    operands: tuple[Node, ...]
    mixed: bool = field(default=False, compare=False)
    """Whether the first operand has another connective, and no parentheses."""


@dataclass(frozen=True, slots=True)
class Like(Placed):
    """Whether the operand's text fits the pattern, or does not."""

    operand: Node
    pattern: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Among(Placed):
    """Whether the operand equals one of the items, or none."""

    operand: Node
    items: tuple[Node, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Call(Placed):
    """A function's value; the name in upper case."""

    name: str
    arguments: tuple[Node, ...]


Node = Constant | Attribute | Exists | Not | Negate | Calculate | Compare | Connect | Like | Among | Call
