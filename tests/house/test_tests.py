"""How tests are written: each states its rule, none waits for a fixed time."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def trees(root: Path) -> dict[str, ast.Module]:
    """Every module of the tests, parsed."""
    files = sorted((root / "tests").rglob("*.py"))
    return {str(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def fixed_sleeps(node: ast.AST, *, polling: bool = False) -> Iterator[int]:
    """The lines of ``sleep(NUMBER)`` outside a loop: in a loop it is the pause of a poll, whose end is a condition."""
    polling = polling or isinstance(node, ast.While | ast.For | ast.AsyncFor)
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep", "sleep"):
        fixed = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value != 0
        if fixed and not polling:
            yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from fixed_sleeps(child, polling=polling)


def test_every_test_states_its_rule(trees: dict[str, ast.Module]) -> None:
    """The docstring says what must hold and why; a failing test then says what was broken."""
    silent = [
        f"{path}:{node.lineno}: {node.name}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent


def test_no_test_waits_for_a_fixed_time(trees: dict[str, ast.Module]) -> None:
    """A fixed wait is too short on a busy machine and too long on every other: poll, or wait for an event."""
    assert not [f"{path}:{line}" for path, tree in trees.items() for line in fixed_sleeps(tree)]


def test_the_guard_sees_a_fixed_wait() -> None:
    """Outside a loop it is one, inside it is a poll, and sleep(0) only lets others run."""
    code = "time.sleep(1)\nwhile not done():\n    time.sleep(0.01)\nasync def f():\n    await asyncio.sleep(0)\n"
    assert list(fixed_sleeps(ast.parse(code))) == [1]
    assert list(fixed_sleeps(ast.parse("async def f():\n    await asyncio.sleep(.5)"))) == [2]
