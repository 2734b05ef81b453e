"""What is in the wheel: the namespace, all of it, and nothing else at the top."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built here, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def contents(built: Path) -> list[str]:
    """The names in the wheel."""
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_has_one_package_at_its_top(contents: list[str]) -> None:
    """Anything else would land beside other people's packages: ``transformers``, ``tests``."""
    tops = {name.split("/")[0] for name in contents}
    assert "headrace" in tops
    (metadata,) = tops - {"headrace"}
    assert metadata.startswith("headrace-")
    assert metadata.endswith(".dist-info")


def test_the_wheel_has_every_tracked_file(contents: list[str], tracked: list[str], roots: tuple[str, ...]) -> None:
    """Nothing that the tests see is missing for users, data and ``py.typed`` included."""
    # Beside its package a root may hold rendered examples (manifests/kustomize), which are for readers.
    packaged = tuple(f"{root}/headrace/" for root in roots)
    wanted = {path.partition("/")[2] for path in tracked if path.startswith(packaged)}
    assert len(wanted) > 30
    assert not wanted - set(contents)
    assert not [name for name in contents if name == "headrace/__init__.py"]


def test_a_project_begins_without_a_checkout(built: Path, tracked: list[str], root: Path, tmp_path: Path) -> None:
    """Whoever has the wheel alone gets the three examples as they are here."""
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path / "site")
    inside = tmp_path / "site/headrace/cli/examples"
    wanted = [path for path in tracked if path.startswith(("examples/pictures/", "examples/text/", "examples/audio/"))]
    assert len(wanted) > 20
    for path in wanted:
        assert (inside.parent / path).read_bytes() == (root / path).read_bytes(), path
    around = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "headrace.cli.main", "init", str(tmp_path / "p"), "--example", "audio"]
    done = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p/call.wav").read_bytes() == (root / "examples/audio/call.wav").read_bytes()
    code = "from headrace.cli.projects import example; print(example.examples())"
    asked = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=around, capture_output=True, text=True, check=True, timeout=60
    )
    assert asked.stdout.strip() == str(inside), "not those of the checkout"
