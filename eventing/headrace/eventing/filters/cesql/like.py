"""The patterns of ``LIKE`` (CESQL section 3.4.3), compiled to functions of a text.

Not one regular expression for all of it: with several ``%`` that would try every way to spread the text over them.
Here each part between two ``%`` is looked for from where the last one ended, which finds a match whenever there is one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN = re.compile(r"\\([%_])|(%)|(_)|(.)", re.DOTALL)
_ANY = None
"""Stands in a part for any one character."""
_Part = tuple[str | None, ...]


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a text fits: ``%`` is any characters or none, ``_`` any one; a backslash takes their meaning."""
    first, *rest = _parts(pattern)
    if not rest:
        return _whole(first)
    if not any(_ANY in part for part in (first, *rest)):
        return _plain(_text(first), [_text(part) for part in rest[:-1] if part], _text(rest[-1]))
    return _search(first, [part for part in rest[:-1] if part], rest[-1])


def _parts(pattern: str) -> list[_Part]:
    """What stands between the ``%``, characters and places for any."""
    parts: list[list[str | None]] = [[]]
    for escaped, many, one, plain in _TOKEN.findall(pattern):
        if many:
            parts.append([])
        else:
            parts[-1].append(_ANY if one else escaped or plain)
    return [tuple(part) for part in parts]


def _text(part: _Part) -> str:
    return "".join(each for each in part if each is not None)


def _whole(part: _Part) -> Callable[[str], bool]:
    if _ANY not in part:
        return _text(part).__eq__
    fits = _regex(part).fullmatch
    return lambda text: fits(text) is not None


def _plain(head: str, middle: list[str], tail: str) -> Callable[[str], bool]:
    """Parts without ``_``: Python's own search does."""
    least = len(head) + len(tail)
    if not middle and not tail:
        return lambda text: text.startswith(head)
    if not middle and not head:
        return lambda text: text.endswith(tail)

    def fits(text: str) -> bool:
        if len(text) < least or not text.startswith(head) or not text.endswith(tail):
            return False
        place, end = len(head), len(text) - len(tail)
        for part in middle:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True

    return fits


def _search(head: _Part, middle: list[_Part], tail: _Part) -> Callable[[str], bool]:
    """Parts of known lengths with any characters in them."""
    begins, ends = _regex(head).match, _regex(tail).fullmatch
    searches = [(_regex(part).search, len(part)) for part in middle]
    least = len(head) + len(tail)

    def fits(text: str) -> bool:
        end = len(text) - len(tail)
        if len(text) < least or not begins(text) or not ends(text, end):
            return False
        place = len(head)
        for search, length in searches:
            found = search(text, place, end)
            if not found:
                return False
            place = found.start() + length
        return True

    return fits


def _regex(part: _Part) -> re.Pattern[str]:
    """A part has no repetition in it, so that nothing is tried twice."""
    return re.compile("".join("." if each is None else re.escape(each) for each in part), re.DOTALL)
