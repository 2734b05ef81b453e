"""CESQL, rule by rule of its spec: what an expression gives for an event, and with which error."""

from __future__ import annotations

import pytest

from headrace.eventing.filters.cesql import compile_expression

EVENT = {
    "specversion": "1.0", "id": "7", "source": "/s", "type": "com.example.word", "subject": "",
    "hop": "5", "ttl": "10", "flag": "TRUE", "text": "ab\ncd", "percent": "50%", "num1": "x",
}  # fmt: skip
VALUES: list[tuple[str, str | int | bool]] = [
    # 2.1 to 2.4: syntax
    ("tRuE", True),
    ("'it\\'s'", "it's"),
    ('"it\'s"', "it's"),
    ('"a \\"b\\""', 'a "b"'),
    (r"'a\b'", r"a\b"),
    (r"'a\\b'", r"a\\b"),
    ("''", ""),
    ("'über 😀'", "über 😀"),
    ("+5", 5),
    ("- 5", -5),
    ("-2147483648", -2147483648),
    ("2147483647", 2147483647),
    ("007", 7),
    ("\t1\r\n+ 1 ", 2),
    ("TYPE", "com.example.word"),
    ("num1", "x"),
    ("length ('ab')", 2),
    ("((((1))))", 1),
    # 3.6: precedence
    ("4-1", 3),
    ("4 -1", 3),
    ("4 - -1", 5),
    ("4 +1", 5),
    ("2 + 3 * 4", 14),
    ("20 / 2 / 5", 2),
    ("10 - 4 - 3", 3),
    ("1 + 1 = 2", True),
    ("1 = 1 = TRUE", True),
    ("NOT 'true' = 'x'", False),
    ("-hop LIKE '-5'", True),
    ("2 * hop LIKE '5'", 2),
    ("2 * 5 IN (5)", 2),
    ("NOT EXISTS nothing", True),
    ("EXISTS hop LIKE 'tr%'", True),
    ("TRUE OR TRUE AND FALSE", False),
    ("FALSE AND TRUE OR TRUE", True),
    ("TRUE OR TRUE XOR TRUE", False),
    # 3.4.1, 3.4.2: operators
    ("NOT NOT TRUE", True),
    ("--5", 5),
    ("-TRUE", -1),
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("7 / -2", -3),
    ("7 % 3", 1),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("hop + ttl", 15),
    ("hop < ttl", True),
    ("'10' >= 9", True),
    ("1 <> 2", True),
    ("TRUE XOR FALSE XOR TRUE", False),
    ("TRUE XOR TRUE XOR TRUE", True),
    ("TRUE AND 5", True),
    ("0 OR FALSE", False),
    ("FALSE AND nothing", False),
    ("FALSE AND TRUE AND nothing", False),
    ("TRUE OR FALSE OR nothing", True),
    ("flag AND TRUE", True),
    # 3.7: casts, by the right operand, and by the left one of IN
    ("hop = 5", True),
    ("5 = hop", True),
    ("'05' = 5", True),
    ("5 = '05'", False),
    ("'+5' = 5", True),
    ("TRUE = 'TRUE'", False),
    ("TRUE = 1", True),
    ("1 = TRUE", True),
    ("-50 = TRUE", True),
    ("flag = TRUE", True),
    ("TRUE = flag", False),
    ("hop = id", False),
    ("5 IN ('05')", True),
    ("'05' IN (5)", False),
    ("hop IN (4, 5)", True),
    ("hop IN (4, ttl)", False),
    ("hop IN (id, hop, nothing)", True),
    ("1 IN (TRUE)", True),
    ("TRUE IN (2)", True),
    ("hop NOT IN (4, 5)", False),
    ("2 NOT IN (TRUE)", True),
    # 3.4.3: LIKE
    ("type LIKE 'com.%.word'", True),
    ("type LIKE 'com.example.word%'", True),
    ("type LIKE '%'", True),
    ("subject LIKE ''", True),
    ("subject LIKE '_'", False),
    ("text LIKE 'ab_cd'", True),
    ("text LIKE 'a%d'", True),
    ("percent LIKE '50\\%'", True),
    ("type LIKE '50\\%'", False),
    ("type NOT LIKE 'com.%'", False),
    ("'aXbXc' LIKE '%X_X%'", True),
    ("'ab' LIKE 'ab%ab'", False),
    ("'ab' LIKE '%b%b'", False),
    ("'bab' LIKE '%b%b'", True),
    ("'ab' LIKE '%a_%a_%'", False),
    ("'abab' LIKE '%a_%a_%'", True),
    ("'a.c' LIKE 'a.c' AND 'abc' NOT LIKE 'a.c'", True),
    ("'\\a' LIKE '\\a'", True),
    # 3.4.4: EXISTS
    ("EXISTS subject", True),
    ("EXISTS SUBJECT", True),
    ("EXISTS id AND EXISTS source AND EXISTS type AND EXISTS specversion", True),
    # 3.5: functions
    ("LENGTH('über')", 4),
    ("LENGTH(12)", 2),
    ("CONCAT('a', 1, TRUE)", "a1true"),
    ("CONCAT_WS('-', 1, 2)", "1-2"),
    ("UPPER(type)", "COM.EXAMPLE.WORD"),
    ("TRIM('\u2003 a b \u00a0')", "a b"),
    ("TRIM('\x1c a \x1c')", "\x1c a \x1c"),
    ("LEFT('abc', '2')", "ab"),
    ("RIGHT('abc', 0)", ""),
    ("SUBSTRING('abc', -3)", "abc"),
    ("SUBSTRING('abc', 3, 0)", ""),
    ("SUBSTRING('', 0)", ""),
    ("ABS(-2147483647)", 2147483647),
    ("INT('-0012')", -12),
    ("BOOL('tRUE')", True),
    ("STRING(-0)", "0"),
    ("IS_INT('5') AND NOT IS_INT('5.0') AND IS_INT(TRUE)", True),
    ("IS_BOOL('false') AND NOT IS_BOOL('no') AND IS_BOOL(5)", True),
]
ERRORS: list[tuple[str, str | int | bool, str]] = [
    ("nothing", False, "missingAttribute"),
    ("nothing = 'a'", False, "missingAttribute"),
    ("nothing != 'a'", False, "missingAttribute"),
    ("NOT (nothing = 'a')", False, "missingAttribute"),
    ("CONCAT('a', nothing)", "", "missingAttribute"),
    ("hop IN (nothing, hop)", False, "missingAttribute"),
    ("nothing IN ('a')", False, "missingAttribute"),
    ("TRUE AND nothing", False, "missingAttribute"),
    ("nothing AND FALSE", False, "missingAttribute"),
    ("TRUE XOR nothing", False, "missingAttribute"),
    ("nothing + 'abc'", 0, "missingAttribute"),
    ("'abc' + nothing", 0, "cast"),
    ("type = 5", False, "cast"),
    ("type < 5", False, "cast"),
    ("type AND TRUE", False, "cast"),
    ("-type", 0, "cast"),
    ("NOT type", True, "cast"),
    ("NOT (NOT type)", False, "cast"),
    ("INT('2147483648')", 0, "cast"),
    ("INT('')", 0, "cast"),
    ("INT(' 5')", 0, "cast"),
    ("INT('5.0')", 0, "cast"),
    ("INT('\u0665')", 0, "cast"),
    ("1 IN ('a', 1)", False, "cast"),
    ("2147483647 + 1", 2147483647, "math"),
    ("-2147483648 - 1", -2147483648, "math"),
    ("65536 * 65536", 2147483647, "math"),
    ("-2147483648 / -1", 2147483647, "math"),
    ("--2147483648", 2147483647, "math"),
    ("1 + (5 / 0)", 0, "math"),
    ("1 = 1 / 0", False, "math"),
    ("LENGTH(LEFT('abc', -1))", 0, "functionEvaluation"),
    ("RIGHT('abc', -1)", "abc", "functionEvaluation"),
    ("SUBSTRING('abc', 1, -1)", "", "functionEvaluation"),
    ("SUBSTRING('abc', -4)", "", "functionEvaluation"),
    ("SUBSTRING('abc', 4)", "", "functionEvaluation"),
    ("SUBSTRING('', 1)", "", "functionEvaluation"),
    ("NOTHING(1)", False, "missingFunction"),
    ("ABS(1, 2)", False, "missingFunction"),
    ("1 + NOTHING(1)", 0, "missingFunction"),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_an_expression_gives_its_value(text: str, value: str | int | bool) -> None:
    """Of the type that the spec says, and without an error."""
    found = compile_expression(text).evaluate(EVENT)
    assert (found.value, type(found.value), found.error) == (value, type(value), "")


@pytest.mark.parametrize(("text", "value", "error"), ERRORS)
def test_an_error_comes_with_a_value(text: str, value: str | int | bool, error: str) -> None:
    """What fails gives the zero value of its type, or what the spec says; what contains it gives its own zero."""
    found = compile_expression(text).evaluate(EVENT)
    assert (found.value, type(found.value), found.error) == (value, type(value), error)
    assert found.detail


def test_attributes_may_have_types() -> None:
    """An event from a format with types says integers and booleans as what they are."""
    event = {"count": 10, "flag": False}
    for text in (
        "count = 10",
        "count LIKE '1_'",
        "NOT flag",
        "flag = 'false'",
        "count IN ('010', 'x')",
        "'10' = count",
    ):
        assert compile_expression(text).evaluate(event).value is True, text


def test_what_is_not_asked_is_not_evaluated() -> None:
    """AND and OR end with the first operand that decides: the rest may have errors."""
    for text in ("hop = 5 OR type < 5", "NOT (hop = 6 AND type < 5)"):
        found = compile_expression(text).evaluate(EVENT)
        assert (found.value, found.error) == (True, "")
