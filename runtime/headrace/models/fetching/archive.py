"""A model that is one archive is what the archive holds, as KServe has it."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from typing import TYPE_CHECKING

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path

_FORMATS = {".tar": "tar", ".tar.gz": "gztar", ".tgz": "gztar", ".zip": "zip"}


def archive_format(name: str) -> str | None:
    """What kind of archive a file of this name is; None for any other file, a wheel or a ``.pt`` among them."""
    return next((kind for ending, kind in _FORMATS.items() if name.lower().endswith(ending)), None)


def unpack(archive: Path) -> None:
    """Put what the archive holds in its place.

    Raises:
        ModelLoadError: it is damaged, or a name in it leads out of the folder.
    """
    kind = archive_format(archive.name)
    assert kind is not None
    folder = archive.parent
    aside = archive.rename(folder.parent / archive.name)
    try:
        if kind == "zip":
            _check_names(aside)
            shutil.unpack_archive(aside, folder, kind)
        else:
            shutil.unpack_archive(aside, folder, kind, filter="data")
    except (shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as fault:
        raise ModelLoadError(f"The archive {archive.name} cannot be unpacked: {fault}") from fault
    aside.unlink()


def _check_names(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"{name!r} leads out of the folder")
