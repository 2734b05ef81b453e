"""What is in the wheel: the namespace, all of it, and nothing else at the top."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def contents(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel built here, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
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
