"""The dialects of the Subscriptions API, as in Knative's Trigger."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.eventing.filters import FilterError, compile_filters

EVENT = {"specversion": "1.0", "id": "7", "source": "/a/b", "type": "com.example.word", "subject": "s"}
YES: dict[str, Any] = {"exact": {"id": "7"}}
NO: dict[str, Any] = {"exact": {"id": "8"}}
ERROR: dict[str, Any] = {"cesql": "nothing = 'x'"}


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ([], True),
        ([YES], True),
        ([NO], False),
        ([YES, YES], True),
        ([YES, NO], False),
        ([{"exact": {"type": "com.example.word", "source": "/a/b"}}], True),
        ([{"exact": {"type": "com.example.word", "source": "/a"}}], False),
        ([{"exact": {"type": "COM.EXAMPLE.WORD"}}], False),
        ([{"exact": {"nothing": "x"}}], False),
        ([{"prefix": {"type": "com.", "source": "/a"}}], True),
        ([{"prefix": {"type": "example"}}], False),
        ([{"prefix": {"nothing": "x"}}], False),
        ([{"suffix": {"type": ".word"}}], True),
        ([{"suffix": {"type": "com"}}], False),
        ([{"suffix": {"type": ".word", "nothing": "x"}}], False),
        ([{"all": [YES, YES]}], True),
        ([{"all": [YES, NO]}], False),
        ([{"any": [NO, YES]}], True),
        ([{"any": [NO, NO]}], False),
        ([{"not": NO}], True),
        ([{"not": YES}], False),
        ([{"not": {"not": YES}}], True),
        ([{"not": {"any": [NO, {"all": [YES, NO]}]}}], True),
        ([{"cesql": "id = 7 AND type LIKE 'com.%'"}], True),
        ([{"cesql": "id = 8"}], False),
        ([ERROR], False),
        ([{"not": ERROR}], True),
        ([{"any": [ERROR, YES]}], True),
        ([{"all": (YES, {"any": (NO, YES)})}], True),
    ],
)
def test_an_event_is_meant_or_not(filters: list[dict[str, Any]], matches: bool) -> None:
    """All of the list must match; the explanation agrees with the answer."""
    event_filter = compile_filters(filters)
    assert event_filter(EVENT) is matches
    verdict = event_filter.explain(EVENT)
    assert verdict.matches is matches
    assert verdict.reason


@pytest.mark.parametrize(
    ("filters", "reason", "error"),
    [
        ([YES, NO], "id is '7', which is not '8'", ""),
        ([{"prefix": {"type": "org."}}], "type is 'com.example.word', which does not begin with 'org.'", ""),
        ([{"suffix": {"nothing": "x"}}], "the event has no attribute 'nothing'", ""),
        ([{"any": [NO, ERROR]}], "id is '7', which is not '8'; the event has no attribute", "missingAttribute"),
        ([{"all": [YES, ERROR]}], "the event has no attribute 'nothing'", "missingAttribute"),
        ([{"not": YES}], "not: id as exact wants", ""),
    ],
)
def test_a_no_has_its_reason(filters: list[dict[str, Any]], reason: str, error: str) -> None:
    """The first filter that says no is named, and an error of CESQL by its kind."""
    verdict = compile_filters(filters).explain(EVENT)
    assert not verdict.matches
    assert reason in verdict.reason
    assert verdict.error == error


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({}, "0: a filter is one dialect"),
        ({"exact": {"id": "7"}, "prefix": {"id": "7"}}, "0: a filter is one dialect"),
        ("type = 'x'", "0: a filter is one dialect"),
        ({"sql": "type = 'x'"}, "0.sql: there is no such dialect; known are exact,"),
        ({"exact": {}}, "0.exact: name attributes"),
        ({"exact": [YES]}, "0.exact: name attributes"),
        ({"exact": {"Type": "x"}}, "0.exact.Type: an attribute's name has lower-case"),
        ({"prefix": {"": "x"}}, "0.prefix.: an attribute's name"),
        ({"suffix": {"type": ""}}, "0.suffix.type: an empty value is not allowed"),
        ({"exact": {"hop": 5}}, "0.exact.hop: attributes are text; put the value in quotes"),
        ({"all": []}, "0.all: write a list with one filter at least"),
        ({"any": YES}, "0.any: write a list"),
        ({"not": [YES]}, "0.not: a filter is one dialect"),
        ({"all": [YES, {"not": {"cesql": "type ="}}]}, "0.all.1.not.cesql: column 7: a value is missing"),
        ({"cesql": {"type": "x"}}, "0.cesql: write a CESQL expression"),
    ],
)
def test_a_mistake_has_its_path(wrong: Any, problem: str) -> None:
    """A filter that is written wrongly is refused when it is compiled, not when the first event comes."""
    with pytest.raises(FilterError, match="1 mistake") as caught:
        compile_filters([wrong])
    assert caught.value.problems[0].startswith(problem)


def test_every_mistake_is_told_at_once() -> None:
    """One look is enough to mend a list."""
    with pytest.raises(FilterError, match="3 mistakes") as caught:
        compile_filters([{"exact": {"Type": "x", "hop": 5}}, YES, {"cesql": "a b"}])
    assert [each.partition(":")[0] for each in caught.value.problems] == ["0.exact.Type", "0.exact.hop", "2.cesql"]


@pytest.mark.parametrize("depth", [33, 5000])
def test_deep_nesting_is_refused(depth: int) -> None:
    """However deep it is: Python's stack is never the bound."""
    deep = YES
    for _ in range(depth):
        deep = {"not": deep}
    with pytest.raises(FilterError) as caught:
        compile_filters([deep])
    assert "more than 32 filters inside each other" in caught.value.problems[0]
