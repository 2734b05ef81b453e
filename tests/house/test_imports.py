"""What an import brings: neither a stranger's name nor a heavy library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ["torch", "kserve", "pandas", "kubernetes", "grpc", "PIL"]
LOADED = "import json, sys; print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))"


def heavy_after(code: str, root: Path) -> list[str]:
    """Which heavy libraries a fresh process has loaded once ``code`` has run."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LOADED}", *HEAVY],
        cwd=root, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_repository_does_not_hide_hugging_face_transformers(root: Path, tmp_path: Path) -> None:
    """From the top folder, ``import transformers`` finds the installed library: ours is a portion of no package."""
    package = tmp_path / "transformers"
    package.mkdir()
    (package / "__init__.py").write_text("WHOSE = 'the library'\n")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(tmp_path)]))
    for code in ("import transformers; print(transformers.WHOSE)", "from transformers import WHOSE; print(WHOSE)"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stdout.strip() == "the library", done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "headrace.errors", "headrace.eventing.event", "headrace.eventing.dispatch", "headrace.manifests.loading",
        "headrace.manifests.rendering", "headrace.telemetry.tracing", "headrace.cli.main",
    ],
)  # fmt: skip
def test_a_light_module_stays_light(module: str, root: Path) -> None:
    """A command that needs no model must not pay for one: torch alone costs a second."""
    assert heavy_after(f"import {module}", root) == []


def test_no_module_of_the_light_rooms_loads_a_heavy_library(root: Path) -> None:
    """The rule holds for every module, those of tomorrow as well."""
    code = """
import importlib, pkgutil
for room in ("errors", "telemetry", "eventing", "manifests", "cli"):
    package = importlib.import_module("headrace." + room)
    for each in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(each.name)
"""
    assert heavy_after(code, root) == []


def test_help_is_quick_to_import(root: Path) -> None:
    """``headrace --help`` names every command and loads none."""
    code = "from headrace.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    code += "\nimport sys\nassert not [m for m in sys.modules if m.startswith('headrace.cli.') and m[13:] != 'main']"
    assert heavy_after(code, root) == []
