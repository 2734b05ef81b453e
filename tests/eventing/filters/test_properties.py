"""CESQL against a slow evaluator, and whatever hypothesis makes up against nothing but the filter error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.eventing.filters import FilterError, compile_filter, compile_filters
from headrace.eventing.filters.cesql import compile_expression, parsing, tree
from headrace.eventing.filters.cesql.like import compile_pattern

from .reference import FUNCTIONS, evaluated, like, printed

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.filters import Filter

ordinary = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = ["a", "b2", "id", "missing", "42x"]
texts = st.sampled_from(["", "a", "ab", "true", "FALSE", "5", "-7", "+0", "it's", 'say "x"', "50%", "é\n"])
numbers = st.sampled_from([0, 1, -1, 2, 5, -7, 2**31 - 1, -(2**31)]) | st.integers(-(2**31), 2**31 - 1)
patterns = st.lists(st.sampled_from(["a", "b", "%", "_", "\\%", "\\_", "tr", "5", "\n", "."]), max_size=6).map("".join)
plain_patterns = st.lists(st.sampled_from(["a", "b", "%", "_"]), max_size=6).map("".join)
leaves: st.SearchStrategy[tree.Node] = st.one_of(
    st.builds(tree.Constant, texts | numbers | st.booleans()),
    st.builds(tree.Attribute, st.sampled_from(WORDS)),
    st.builds(tree.Exists, st.sampled_from(WORDS)),
)
events = st.dictionaries(
    st.sampled_from([word for word in WORDS if word != "missing"]), texts | numbers.map(str) | numbers | st.booleans()
)


def tried(compile_it: Callable[[Any], Filter], text: Any) -> Filter | FilterError:
    """The filter, or why it is none; any other exception is a failure of the test."""
    try:
        return compile_it(text)
    except FilterError as fault:
        return fault


def connected(word: Any, operands: list[tree.Node]) -> tree.Node:
    """As the parser has it: a OR b OR c is one node."""
    first, *rest = operands
    if isinstance(first, tree.Connect) and first.operator == word:
        return tree.Connect(word, (*first.operands, *rest))
    return tree.Connect(word, (first, *rest))


def called(name: str, arguments: list[tree.Node]) -> tree.Node:
    """A call with as many arguments as the function takes."""
    return tree.Call(name, tuple(arguments[: len(FUNCTIONS[name][0])]))


def larger(inner: st.SearchStrategy[tree.Node]) -> st.SearchStrategy[tree.Node]:
    """Every operation, of operands of any kind."""
    return st.one_of(
        st.builds(tree.Not, inner),
        st.builds(tree.Negate, inner),
        st.builds(tree.Calculate, st.sampled_from(["*", "/", "%", "+", "-"]), inner, inner),
        st.builds(tree.Compare, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), inner, inner),
        st.builds(connected, st.sampled_from(["AND", "OR", "XOR"]), st.lists(inner, min_size=2, max_size=4)),
        st.builds(tree.Like, inner, patterns, st.booleans()),
        st.builds(tree.Among, inner, st.lists(inner, min_size=1, max_size=3).map(tuple), st.booleans()),
        st.builds(called, st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, min_size=2, max_size=2)),
    )


trees = st.recursive(leaves, larger, max_leaves=12)


@ordinary
@given(node=trees)
def test_what_is_printed_is_read_the_same(node: tree.Node) -> None:
    """Levels and order of the operators are those of section 3.6: a printer that knows only them is understood."""
    assert parsing.parse(printed(node)) == node


@ordinary
@given(node=trees, event=events)
def test_compiled_is_what_is_walked(node: tree.Node, event: dict[str, Any]) -> None:
    """Casts, folding and sets done ahead change nothing: value, its type and the error are those of a plain walk."""
    found = compile_expression(printed(node)).evaluate(event)
    value, error = evaluated(node, event)
    assert (found.value, type(found.value), found.error) == (value, type(value), error)


@ordinary
@given(node=trees, event=events)
def test_a_filter_says_yes_to_true_alone(node: tree.Node, event: dict[str, Any]) -> None:
    """What can be compiled as a filter says yes where the value is true without an error; its explanation agrees."""
    event_filter = tried(compile_filter, printed(node))
    if isinstance(event_filter, FilterError):
        assert "column " in event_filter.summary
        return
    meant = evaluated(node, event) == (True, "") and type(evaluated(node, event)[0]) is bool
    assert event_filter(event) is meant
    assert event_filter.explain(event).matches is meant


@ordinary
@given(text=st.text("ab", max_size=6) | st.text("ab%_.\n", max_size=8), pattern=plain_patterns | patterns)
def test_a_pattern_fits_where_any_way_of_reading_it_does(text: str, pattern: str) -> None:
    """The quick matcher finds a match whenever trying everything does."""
    assert compile_pattern(pattern)(text) is like(text, pattern)


WORDS_OF_THE_LANGUAGE = st.lists(
    st.sampled_from(
        ["a", "type", "'x'", '"y"', "5", "-", "+", "*", "/", "%", "=", "==", "!=", "<>", "<", "(", ")", ",", "AND",
         "or", "XOR", "NOT", "LIKE", "IN", "EXISTS", "TRUE", "false", "ABS", "CONCAT", "FOO", "'", '"', "\\", "_", "\n"]
    ),
    max_size=25,
)  # fmt: skip


@ordinary
@given(text=st.text(max_size=40) | WORDS_OF_THE_LANGUAGE.map(" ".join) | WORDS_OF_THE_LANGUAGE.map("".join))
def test_no_text_does_harm(text: str) -> None:
    """Whatever is written is a filter or a filter error with a place in the text, and no event makes a filter raise."""
    event_filter = tried(compile_filter, text)
    if isinstance(event_filter, FilterError):
        assert 0 <= event_filter.offset <= len(text)
        assert str(event_filter)
        return
    assert event_filter({}) in (True, False)
    assert event_filter({"a": "x", "type": "5"}) in (True, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "type = 'x'", "a b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["exact", "prefix", "all", "any", "not", "cesql", "type", "Type", "x"]), inner, max_size=2
        )
    ),
    max_leaves=12,
)


@ordinary
@given(filters=st.lists(JSON, max_size=3))
def test_no_list_does_harm(filters: list[Any]) -> None:
    """Whatever is given is a filter or a filter error that names a path in the list."""
    event_filter = tried(compile_filters, filters)
    if isinstance(event_filter, FilterError):
        assert event_filter.problems
        assert all(problem[0].isdigit() for problem in event_filter.problems)
        return
    assert event_filter({"type": "x"}) in (True, False)


@pytest.mark.parametrize("opening", ["(", "NOT ", "-", "CONCAT(", "a IN (", "a = ", "a AND ", "a + ", "'", "a LIKE "])
def test_no_beginning_without_end_does_harm(opening: str) -> None:
    """A beginning repeated to the limit of length is refused quickly, and by the filter error."""
    with pytest.raises(FilterError):
        compile_filter(opening * (parsing.LONGEST // len(opening)))
