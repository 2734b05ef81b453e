"""docs/conformance.md: every rule that is said to be kept names a test, which is there and is no other row's."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/conformance.md").read_text()
KEPT, _, OTHERS = PAGE.partition("## Not kept")
ROWS = re.findall(r"^\| (?!rule|---)(.+?) \| (.+?) \|$", KEPT, flags=re.MULTILINE)


@pytest.mark.parametrize(("rule", "cell"), ROWS)
def test_a_row_names_a_test_that_is_there(rule: str, cell: str) -> None:
    """A function of that file; with brackets, one of its cases by name."""
    named = re.fullmatch(r"`(test_\w+\.py)::(test_\w+)(?:\[(.+)\])?`", cell)
    assert named, f"{rule}: {cell} is no test"
    file = ROOT / "tests/local" / named[1]
    assert file.is_file(), f"{rule}: there is no {named[1]}"
    text = file.read_text()
    functions = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    assert named[2] in functions, f"{rule}: {named[1]} has no {named[2]}"
    assert named[3] is None or f'"{named[3]}"' in text, f"{rule}: {named[2]} has no case '{named[3]}'"


def test_each_row_has_a_test_of_its_own() -> None:
    """One rule a row, one test a row."""
    counted = Counter(cell for _, cell in ROWS)
    assert [cell for cell, times in counted.items() if times > 1] == []
    assert len(ROWS) > 90


def test_what_is_not_kept_says_what_is_done() -> None:
    """Each in a row, without a test."""
    rows = re.findall(r"^\| (?!rule|---)(.+?) \| (.+?) \|$", OTHERS, flags=re.MULTILINE)
    assert len(rows) > 10
    assert not [row for row in rows if "::" in row[1]]
