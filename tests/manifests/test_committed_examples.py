"""The rendered examples that are committed are what the examples render to now.

Set HEADRACE_UPDATE_GOLDEN=1 to write them anew, and read the diff.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from headrace.cli.render_files import files_of
from headrace.manifests.loading import load_apps
from headrace.manifests.options import RenderOptions, default_image

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "manifests/kustomize"
EXAMPLES = ["audio", "pictures", "text"]


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_committed_example_is_fresh(example: str) -> None:
    """Who reads manifests/kustomize sees what `headrace render --format kustomize` writes today."""
    file = ROOT / f"examples/{example}/headrace.yaml"
    files = files_of("kustomize", file, load_apps(file), RenderOptions(image=default_image()))
    if os.environ.get("HEADRACE_UPDATE_GOLDEN"):
        shutil.rmtree(FOLDER / example, ignore_errors=True)
        for name, text in files.items():
            path = FOLDER / example / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    assert content(FOLDER / example) == files


def test_no_example_is_left_behind() -> None:
    """A folder whose example went goes too."""
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == EXAMPLES
