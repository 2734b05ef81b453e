"""What to say of a text that is no expression: where it stops to be one, and what was perhaps meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from lark.lexer import Token

_MEANT = {
    "&": "write AND",
    "|": "write OR",
    "!": "write NOT, or != for unequal",
    "_": "an attribute's name has letters and digits alone, and only a function's has '_'",
    **dict.fromkeys("\u2018\u2019\u201c\u201d", "write straight quotes"),
}
_NEEDED = {
    "STRING": "LIKE needs a pattern in quotes",
    "NAME": "EXISTS needs the name of an attribute",
    "LPAR": "IN needs a list in parentheses",
    "INTEGER": "+ needs a number after it",
}


def unknown_character(text: str, place: int) -> str:
    """Of a place where no word of the language begins."""
    found = text[place]
    if found in "'\"":
        return f"the text has no closing {found}"
    rest = text[place:]
    word = rest[: next((at for at, each in enumerate(rest) if not (each.isalnum() or each == "_")), len(rest))]
    if "_" in word:
        return f"{word!r}: {_MEANT['_']}"
    meant = _MEANT.get(found)
    return f"{found!r} has no meaning here" + (f"; {meant}" if meant else "")


def mistake_at(text: str, token: Token, expected: Collection[str]) -> tuple[str, int]:
    """Of a word that cannot stand where it does: what is wrong, and the characters before it."""
    ended = token.type == "$END"
    place = len(text.rstrip()) if ended else token.start_pos or 0
    before = "at the end" if ended else f"before {str(token)!r}"
    wanted = set(expected)
    if len(wanted) == 1 and (needed := _NEEDED.get(next(iter(wanted)))):
        return f"{needed}, {before}", place
    if wanted == {"LIKE", "IN"}:
        return "after a value NOT goes with LIKE or IN", place
    if {"NAME", "STRING"} <= wanted:
        return _value_missing(text, token, place, before), place
    if ended:
        return "a closing parenthesis is missing at the end", place
    if token.type == "RPAR":
        return "this parenthesis closes nothing", place
    return f"an operator is missing {before}", place


def _value_missing(text: str, token: Token, place: int, before: str) -> str:
    if not text.strip():
        return "the expression is empty"
    if token.type == "COMPARE" and text[:place].endswith("="):
        return "equality is written with one ="
    return f"a value is missing {before}"
