"""The values of CESQL, their casts (section 3.7), and the error of an evaluation (section 3.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.filters.cesql.tree import Node

Value = str | int | bool
Kind = type[str] | type[int] | type[bool]
"""A type of the language, as Python's own; an integer is a signed one of 32 bits."""
ErrorKind = Literal["math", "cast", "missingAttribute", "missingFunction", "functionEvaluation"]
"""Kinds of errors at evaluation, by the names of the conformance cases."""
SMALLEST, LARGEST = -(2**31), 2**31 - 1
KIND_NAMES: dict[Kind, str] = {str: "text", int: "a whole number", bool: "true or false"}
_INTEGER = re.compile(r"[+-]?0*([0-9]{1,10})\Z")


class Fault(Exception):  # noqa: N818  # an answer of the language: only its evaluation sees it
    """An error of an evaluation, which ends it (the spec's fail fast mode).

    Args:
        kind: The spec's kind.
        detail: What went wrong, for people.
        value: What the operation that failed gives beside the error, where it is not the zero value.
    """

    def __init__(self, kind: ErrorKind, detail: str, value: Value | None = None) -> None:
        super().__init__(kind, detail)
        self.kind: ErrorKind = kind
        self.detail = detail
        self.value = value
        self.origin: Node | None = None
        """The operation whose own value ``value`` is: it counts only where that is the whole expression."""


def to_text(value: Value) -> str:
    """The value as text; every value has one."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def to_integer(value: Value) -> int:
    """The value as a whole number.

    Raises:
        Fault: a text that is no decimal number of 32 bits.
    """
    if not isinstance(value, str):
        return int(value)
    if _INTEGER.match(value) and SMALLEST <= (number := int(value)) <= LARGEST:
        return number
    raise Fault("cast", f"{_shown(value)} is not a whole number of 32 bits")


def to_boolean(value: Value) -> bool:
    """The value as true or false; of the numbers only 0 is false.

    Raises:
        Fault: a text that is neither ``true`` nor ``false``, in any case of letters.
    """
    if not isinstance(value, str):
        return bool(value)
    lower = value.lower()
    if lower == "true":
        return True
    if lower == "false":
        return False
    raise Fault("cast", f"{_shown(value)} is neither true nor false")


CASTS: dict[Kind, Callable[[Value], Value]] = {str: to_text, int: to_integer, bool: to_boolean}


def _shown(value: str) -> str:
    longest = 60
    return repr(value if len(value) <= longest else value[:longest] + "…")
