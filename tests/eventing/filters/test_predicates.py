"""An expression as a filter: yes or no for every event, and mistakes told when it is compiled."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import pytest

from headrace.errors import ConfigurationError
from headrace.eventing.filters import FilterError, compile_filter
from headrace.eventing.filters.cesql.parsing import DEEPEST, LONGEST

EVENT = MappingProxyType({"specversion": "1.0", "id": "7", "source": "/s", "type": "com.example.word", "hop": "5"})
# Expression, column of the caret, words of the message.
MISTAKES: list[tuple[str, int, str]] = [
    ("type =", 7, "a value is missing at the end"),
    ("type == 'x'", 7, "equality is written with one ="),
    ("= 'x'", 1, "a value is missing before '='"),
    ("type = 'x", 8, "no closing '"),
    ("type 'x'", 6, "an operator is missing before \"'x'\""),
    ("type = 'x' AND", 15, "a value is missing at the end"),
    ("(type = 'x'", 12, "a closing parenthesis is missing"),
    ("type = 'x')", 11, "closes nothing"),
    ("type LIKE hop", 11, "LIKE needs a pattern in quotes"),
    ("EXISTS 'type'", 8, "EXISTS needs the name of an attribute"),
    ("type IN 'x'", 9, "IN needs a list in parentheses"),
    ("type IN ()", 10, "a value is missing before ')'"),
    ("type NOT = 'x'", 10, "NOT goes with LIKE or IN"),
    ("a = +b", 6, "+ needs a number"),
    ("type = 'x' && hop = 5", 12, "write AND"),
    ("type = 'x' || hop = 5", 12, "write OR"),
    ("!hop", 1, "write NOT, or !="),
    ("my_type = 'x'", 1, "letters and digits alone"),
    ("type = \u2018x\u2019", 8, "write straight quotes"),
    ("a.b = 'x'", 2, "has no meaning here"),
    ("type = 'x' 'y'", 12, "an operator is missing"),
    ("LEN(type) = 1", 1, "there is no function LEN; known are ABS,"),
    ("hop = 1 OR SUBSTRING(type) = 'x'", 12, "called with 1 arguments, and takes 2 or 3"),
    ("CONCAT_WS() = ''", 1, "takes 1 or more"),
    ("hop = 2147483648", 7, "between -2147483648 and 2147483647"),
    ("hop = -2147483649", 7, "between -2147483648 and 2147483647"),
    ("hop = " + "9" * 5000, 7, "between -2147483648 and 2147483647"),
    ("type", 1, "write type = TRUE"),
    ("(type)", 2, "write type = TRUE"),
    ("LOWER(type)", 1, "the expression gives text"),
    ("hop + 1", 5, "the expression gives a whole number"),
    ("hop = 1 OR time > '2026-01-01'", 19, "'2026-01-01' is not a whole number"),
    ("'x' = 5", 1, "'x' is not a whole number"),
    ("5 IN (4, 'x')", 10, "'x' is not a whole number"),
    ("hop = 1 / 0", 9, "divided by 0"),
    ("TRUE OR 1 / 0 = 1", 11, "divided by 0"),
    ("LEFT('abc', -1) = type", 1, "LEFT takes no -1 characters"),
    ("type = 'a' OR hop = 1 AND hop = 2", 23, "Write parentheses"),
    ("NOT type = 'a'", 1, "NOT (... = ...)"),
    ("NOT hop > 5", 1, "NOT (... > ...)"),
    ("NOT type LIKE 'a%'", 1, "NOT (... LIKE ...)"),
    ("NOT type IN ('a')", 1, "NOT (... IN ...)"),
    ("NOT 10", 1, "NOT takes true or false"),
]


@pytest.mark.parametrize(("text", "column", "words"), MISTAKES)
def test_a_mistake_has_its_place(text: str, column: int, words: str) -> None:
    """The message names column, mistake and remedy, and a caret stands under the place."""
    with pytest.raises(FilterError) as caught:
        compile_filter(text)
    fault = caught.value
    assert (fault.line, fault.column, fault.offset) == (1, column, column - 1)
    assert words in fault.summary
    _, shown, caret = str(fault).split("\n")
    under = shown[caret.index("^") :]
    assert under == "" or text[column - 1 :].startswith(under)
    assert len(shown) < 120


def test_a_mistake_in_a_later_line_shows_that_line() -> None:
    """Long expressions have lines; a tab does not move the caret."""
    with pytest.raises(FilterError) as caught:
        compile_filter("type = 'x'\n\tAND hop = = 5")
    assert "at line 2, column 12" in str(caught.value)
    assert str(caught.value).endswith("\n     AND hop = = 5\n               ^")


@pytest.mark.parametrize("text", ["", " \n "])
def test_nothing_is_no_filter(text: str) -> None:
    """An empty text is a mistake, and not a filter that lets everything through."""
    with pytest.raises(FilterError, match="the expression is empty"):
        compile_filter(text)


def test_a_filter_error_is_a_mistake_in_the_configuration() -> None:
    """Commands print it without a traceback, and exit as with any wrong flag."""
    with pytest.raises(ConfigurationError) as caught:
        compile_filter("type =")
    assert caught.value.code == "configuration"


@pytest.mark.parametrize(
    ("text", "matches", "reason", "error"),
    [
        ("type = 'com.example.word'", True, "is true", ""),
        ("type = 'x'", False, "is false", ""),
        ("subject = 'x'", False, "the event has no attribute 'subject'", "missingAttribute"),
        ("subject != 'x'", False, "the event has no attribute 'subject'", "missingAttribute"),
        ("type > 5", False, "'com.example.word' is not a whole number of 32 bits", "cast"),
        ("10 / (hop - 5) = 1", False, "10 is divided by 0", "math"),
        ("LEFT(type, hop - 6) = 'a'", False, "LEFT takes no -1 characters", "functionEvaluation"),
        ("NOT EXISTS subject", True, "is true", ""),
        ("NOT (type = 'x')", True, "is true", ""),
        ("(NOT (hop = 6)) = TRUE", True, "is true", ""),
        ("(type = 'x' AND hop = 5) OR hop = 5", True, "is true", ""),
    ],
)
def test_an_event_is_meant_or_not(text: str, matches: bool, reason: str, error: str) -> None:
    """An error is a no (CESQL section 1.2), and the reason is there for whoever asks."""
    event_filter = compile_filter(text)
    verdict = event_filter.explain(EVENT)
    assert event_filter(EVENT) is matches
    assert (verdict.matches, verdict.error) == (matches, error)
    assert reason in verdict.reason


def test_a_filter_never_changes() -> None:
    """It is shared by whatever runs at once."""
    event_filter = compile_filter("type = 'x'")
    assert dataclasses.is_dataclass(event_filter)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event_filter.expression = None
    assert event_filter == compile_filter("type = 'x'")
    assert hash(event_filter) == hash(compile_filter("type = 'x'"))


@pytest.mark.parametrize(
    "text",
    [
        "NOT " * DEEPEST + "TRUE",
        "-" * DEEPEST + "hop = 5",
        "hop" + " + 1" * DEEPEST + " = 5",
        "CONCAT(" * DEEPEST + "type" + ")" * DEEPEST + " = 'x'",
        "hop = 5" + " = TRUE" * DEEPEST,
    ],
)
def test_deep_nesting_is_refused(text: str) -> None:
    """Each level takes frames of Python's stack for every event: better refused than a RecursionError later."""
    with pytest.raises(FilterError, match=f"more than {DEEPEST} operations inside each other"):
        compile_filter(text)


def test_what_is_just_not_too_deep_runs() -> None:
    """The bound leaves room for the deepest tree there can be, with a cast at every level."""
    text = "hop"
    for _ in range(DEEPEST // 2 - 2):
        text = f"CONCAT({text}, '') + 0"
    assert compile_filter(f"{text} = 5")(EVENT)


def test_length_alone_is_no_depth() -> None:
    """Thousands of alternatives, or of parentheses, are flat."""
    many = " OR ".join(f"type = 'number{number}'" for number in range(1300))
    assert not compile_filter(many)(EVENT)
    assert compile_filter(many + " OR hop = 5")(EVENT)
    assert compile_filter("(" * 10_000 + "hop = 5" + ")" * 10_000)(EVENT)


def test_an_endless_expression_is_refused() -> None:
    """The bound stands before the parser."""
    with pytest.raises(FilterError, match=f"{LONGEST} at most"):
        compile_filter("hop = 5" + " " * LONGEST)


def test_many_wildcards_are_quick() -> None:
    """A pattern is matched without trying every way to spread the text: this one would never end so."""
    event_filter = compile_filter(f"type LIKE '{'%a_' * 40}%b'")
    assert not event_filter({"type": "a" * 20_000})
