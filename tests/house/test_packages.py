"""The shape of the packages: one namespace over five roots, each package says what belongs in it."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_no_init_file_closes_the_namespace(root: Path, roots: tuple[str, ...]) -> None:
    """A root or ``headrace/`` with an ``__init__.py`` would hide the other roots, and Hugging Face's transformers."""
    places = [root / name / inner for name in roots for inner in ("", "headrace")]
    assert not [place for place in places if (place / "__init__.py").exists()]


def test_no_init_file_lies_under_tests(root: Path) -> None:
    """A package ``tests/transformers`` would be imported as ``transformers`` by pytest."""
    assert not list((root / "tests").rglob("__init__.py"))


def test_every_folder_of_modules_is_a_package_that_says_what_belongs_in_it(root: Path, roots: tuple[str, ...]) -> None:
    """Below the namespace every folder has an ``__init__.py`` with a docstring: the reader knows where to look."""
    folders = {path.parent for name in roots for path in (root / name / "headrace").glob("*/**/*.py")}
    assert len(folders) >= 10
    for folder in sorted(folders):
        init = folder / "__init__.py"
        assert init.exists(), f"{folder} has modules and no __init__.py"
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{init} has no docstring"


def test_every_room_is_typed(root: Path, roots: tuple[str, ...]) -> None:
    """A type checker reads a package's hints only where ``py.typed`` is; the namespace itself cannot carry one."""
    rooms = [room for name in roots for room in (root / name / "headrace").iterdir() if (room / "__init__.py").exists()]
    assert len(rooms) >= 10
    assert not [room for room in rooms if not (room / "py.typed").exists()]


def test_no_module_is_called_after_nothing(tracked: list[str], roots: tuple[str, ...]) -> None:
    """A file is named by its subject: ``utils`` and its like collect whatever has no home."""
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    mine = [PurePosixPath(path) for path in tracked if path.split("/")[0] in roots]
    assert not [path for path in mine if path.stem in nothing]


def test_no_module_is_long(tracked: list[str], roots: tuple[str, ...], root: Path) -> None:
    """400 lines hold one subject."""
    modules = [path for path in tracked if path.split("/")[0] in roots and path.endswith(".py")]
    lengths = {path: len((root / path).read_text(encoding="utf-8").splitlines()) for path in modules}
    assert not {path: length for path, length in lengths.items() if length > 400}
