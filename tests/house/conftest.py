"""The repository, for the tests that guard its rules."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOTS = ("predictors", "transformers", "eventing", "manifests", "runtime")
"""The source roots: each holds a portion of the namespace ``headrace``."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's top folder."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def roots() -> tuple[str, ...]:
    """The source roots' names."""
    return ROOTS


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[str]:
    """Every file that git tracks and that is there, by its path from the top."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        pytest.skip("no git checkout: nothing says which files belong to the project")
    # A checkout of another user's is refused by git unless named as safe.
    command = [git, "-c", f"safe.directory={root}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    return [path for path in listed if path and (root / path).is_file()]
