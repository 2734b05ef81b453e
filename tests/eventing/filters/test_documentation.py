"""docs/filters.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.eventing.filters import FilterError, Verdict, compile_filter
from headrace.eventing.filters.cesql import functions
from headrace.eventing.filters.dialects import DIALECTS

TEXT = (Path(__file__).parents[3] / "docs/filters.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    rows = TEXT.partition(heading)[2].split("\n\n| ")[1].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\) \| ", row.strip("| "))] for row in rows[2:]]


def code(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_every_dialect_and_function_is_told() -> None:
    """The tables name all there are, and none that is not."""
    assert [code(row[0])[0].partition(":")[0] for row in table("## Dialects")] == list(DIALECTS)
    told = [name for row in table("## Expressions") if row[0].startswith("functions") for name in code(row[1])]
    assert sorted(told) == sorted(functions.FUNCTIONS)


def test_what_is_told_as_refused_is_refused() -> None:
    """Each example of the table, while what is recommended instead compiles."""
    for refused, _, instead in table("### What is refused"):
        for example in code(refused):
            with pytest.raises(FilterError):
                compile_filter(example)
        for example in code(instead):
            compile_filter(example)


def test_the_examples_run() -> None:
    """The program, and the expressions of the text."""
    names: dict[str, object] = {}
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(program, names)  # the documentation's own example
    assert "Verdict(matches=False, reason=\"the event has no attribute 'type'\", error='missingAttribute')" in program
    wanted = compile_filter("type = 'com.example.picture'").explain({"id": "1"})
    assert wanted == Verdict(False, "the event has no attribute 'type'", "missingAttribute")
    recommended = compile_filter("NOT EXISTS subject OR subject != 'a'")
    assert recommended({})
    assert not recommended({"subject": "a"})
    expression = re.findall(r'filter: "(.*)"', TEXT)
    assert compile_filter(expression[0])({"type": "com.example.picture", "size": "10"})
