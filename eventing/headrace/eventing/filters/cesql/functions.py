"""The built-in functions of CESQL (section 3.5), casts and ``IS_INT``, ``IS_BOOL`` of the SDKs among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.eventing.filters.cesql.values import (
    LARGEST,
    SMALLEST,
    Fault,
    Kind,
    Value,
    to_boolean,
    to_integer,
    to_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Unicode's White_Space. Python's own strip() takes the separators U+001C to U+001F too, which are control characters.
_SPACES = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language."""

    parameters: tuple[Kind | None, ...]
    """Kinds to which the arguments are cast; None takes them as they are."""
    result: Kind
    call: Callable[..., Value]
    rest: Kind | None = None
    """Kind of any further arguments; None for a function that takes none."""

    def takes(self, count: int) -> bool:
        """Whether it can be called with so many arguments."""
        return count == len(self.parameters) or (self.rest is not None and count > len(self.parameters))

    def kinds(self, count: int) -> tuple[Kind | None, ...]:
        """The kinds of so many arguments."""
        return self.parameters + (self.rest,) * (count - len(self.parameters))


def find(name: str, count: int) -> Function | None:
    """The function of this name, in upper case, for so many arguments."""
    return next((each for each in FUNCTIONS.get(name, ()) if each.takes(count)), None)


def arities(name: str) -> str:
    """With how many arguments the function can be called, for people; empty where there is none of the name."""
    counts = [f"{len(each.parameters)}{' or more' if each.rest else ''}" for each in FUNCTIONS.get(name, ())]
    return " or ".join(counts)


def _castable(cast: Callable[[Value], Value]) -> Callable[[Value], bool]:
    def can(value: Value) -> bool:
        try:
            cast(value)
        except Fault:
            return False
        return True

    return can


def _left(text: str, count: int) -> str:
    if count < 0:
        raise Fault("functionEvaluation", f"LEFT takes no {count} characters", text)
    return text[:count]


def _right(text: str, count: int) -> str:
    if count < 0:
        raise Fault("functionEvaluation", f"RIGHT takes no {count} characters", text)
    return text[max(0, len(text) - count) :]


def _substring(text: str, position: int, length: int = LARGEST) -> str:
    if abs(position) > len(text):
        raise Fault("functionEvaluation", f"SUBSTRING begins at {position} of a text of {len(text)} characters")
    if length < 0:
        raise Fault("functionEvaluation", f"SUBSTRING takes no {length} characters")
    if position == 0:
        return ""
    start = position - 1 if position > 0 else len(text) + position
    return text[start : start + length]


def _abs(number: int) -> int:
    if number == SMALLEST:
        raise Fault("math", f"ABS of {number} does not fit into 32 bits", LARGEST)
    return abs(number)


FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "LENGTH": (Function((str,), int, len),),
    "CONCAT": (Function((), str, lambda *texts: "".join(texts), rest=str),),
    "CONCAT_WS": (Function((str,), str, lambda between, *texts: between.join(texts), rest=str),),
    "LOWER": (Function((str,), str, str.lower),),
    "UPPER": (Function((str,), str, str.upper),),
    "TRIM": (Function((str,), str, lambda text: text.strip(_SPACES)),),
    "LEFT": (Function((str, int), str, _left),),
    "RIGHT": (Function((str, int), str, _right),),
    "SUBSTRING": (Function((str, int), str, _substring), Function((str, int, int), str, _substring)),
    "ABS": (Function((int,), int, _abs),),
    "INT": (Function((None,), int, to_integer),),
    "STRING": (Function((None,), str, to_text),),
    "BOOL": (Function((None,), bool, to_boolean),),
    "IS_INT": (Function((None,), bool, _castable(to_integer)),),
    "IS_BOOL": (Function((None,), bool, _castable(to_boolean)),),
}
"""Every function by its name in upper case, one entry for each number of arguments."""
